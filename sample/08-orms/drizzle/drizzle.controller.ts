import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { DrizzleLibrary } from './drizzle.library.js';

@Controller('drizzle')
export class DrizzleController extends LibraryController {
  constructor(protected readonly library: DrizzleLibrary) {
    super();
  }
}
