import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { TypeOrmLibrary } from './typeorm.library.js';

@Controller('typeorm')
export class TypeOrmController extends LibraryController {
  constructor(protected readonly library: TypeOrmLibrary) {
    super();
  }
}
