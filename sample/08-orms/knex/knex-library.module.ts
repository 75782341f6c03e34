import { Module } from '@nestjs/common';
import { KnexController } from './knex.controller.js';
import { KnexLibrary } from './knex.library.js';
import { knexProvider } from './knex.provider.js';

@Module({ controllers: [KnexController], providers: [knexProvider, KnexLibrary] })
export class KnexLibraryModule {}
