import { Module } from '@nestjs/common';
import { KyselyController } from './kysely.controller.js';
import { KyselyLibrary } from './kysely.library.js';
import { kyselyProvider } from './kysely.provider.js';

@Module({ controllers: [KyselyController], providers: [kyselyProvider, KyselyLibrary] })
export class KyselyLibraryModule {}
