import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { KyselyLibrary } from './kysely.library.js';

@Controller('kysely')
export class KyselyController extends LibraryController {
  constructor(protected readonly library: KyselyLibrary) {
    super();
  }
}
