import { Module } from '@nestjs/common';
import { ObjectionController } from './objection.controller.js';
import { ObjectionLibrary } from './objection.library.js';
import { objectionProvider } from './objection.provider.js';

@Module({ controllers: [ObjectionController], providers: [objectionProvider, ObjectionLibrary] })
export class ObjectionLibraryModule {}
