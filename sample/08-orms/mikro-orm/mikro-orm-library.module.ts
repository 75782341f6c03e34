import { Module } from '@nestjs/common';
import { MikroOrmController } from './mikro-orm.controller.js';
import { MikroOrmLibrary } from './mikro-orm.library.js';
import { mikroOrmProvider } from './mikro-orm.provider.js';

@Module({ controllers: [MikroOrmController], providers: [mikroOrmProvider, MikroOrmLibrary] })
export class MikroOrmLibraryModule {}
