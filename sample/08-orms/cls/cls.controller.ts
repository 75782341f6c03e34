import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { ClsLibrary } from './cls.library.js';

@Controller('cls')
export class ClsController extends LibraryController {
  constructor(protected readonly library: ClsLibrary) {
    super();
  }
}
