import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { KnexLibrary } from './knex.library.js';

@Controller('knex')
export class KnexController extends LibraryController {
  constructor(protected readonly library: KnexLibrary) {
    super();
  }
}
