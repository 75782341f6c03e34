import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { SequelizeLibrary } from './sequelize.library.js';

@Controller('sequelize')
export class SequelizeController extends LibraryController {
  constructor(protected readonly library: SequelizeLibrary) {
    super();
  }
}
