import { Controller } from '@nestjs/common';
import { LibraryController } from '../library/library.controller.js';
import { ObjectionLibrary } from './objection.library.js';

@Controller('objection')
export class ObjectionController extends LibraryController {
  constructor(protected readonly library: ObjectionLibrary) {
    super();
  }
}
