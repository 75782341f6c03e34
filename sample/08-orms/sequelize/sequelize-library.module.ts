import { Module } from '@nestjs/common';
import { SequelizeModule } from '@nestjs/sequelize';
import { getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { haSqlite3 } from 'nestjs-ha/sqlite3';
import { AuthorModel, BookModel } from './models.js';
import { SequelizeController } from './sequelize.controller.js';
import { SequelizeLibrary } from './sequelize.library.js';

@Module({
  imports: [
    SequelizeModule.forRootAsync({
      inject: [getHAToken()],
      useFactory: (db: HADatabase) => ({
        dialect: 'sqlite',
        // No file can be opened by this name.
        storage: '.',
        dialectModule: haSqlite3(db, { serialize: false }),
        autoLoadModels: true,
        // CREATE TABLE IF NOT EXISTS, on both nodes.
        synchronize: true,
        logging: false,
      }),
    }),
    SequelizeModule.forFeature([AuthorModel, BookModel]),
  ],
  controllers: [SequelizeController],
  providers: [SequelizeLibrary],
})
export class SequelizeLibraryModule {}
