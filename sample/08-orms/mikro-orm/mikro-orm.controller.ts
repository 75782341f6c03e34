import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { MikroOrmLibrary } from './mikro-orm.library.js';

@Controller('mikro-orm')
export class MikroOrmController extends LibraryController {
  constructor(protected readonly library: MikroOrmLibrary) {
    super();
  }
}
