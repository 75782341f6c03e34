import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { haDataSourceFactory, haDataSourceOptions } from 'nestjs-ha/typeorm';
import { DataSource } from 'typeorm';
import { AuthorEntity, BookEntity } from './author.entity.js';
import { Library1767225600000 } from './migrations.js';
import { TypeOrmController } from './typeorm.controller.js';
import { TypeOrmLibrary } from './typeorm.library.js';

@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [getHAToken()],
      useFactory: (db: HADatabase) =>
        haDataSourceOptions(db, {
          autoLoadEntities: true,
          migrations: [Library1767225600000],
          migrationsRun: true,
        }),
      dataSourceFactory: haDataSourceFactory(DataSource),
    }),
    TypeOrmModule.forFeature([AuthorEntity, BookEntity]),
  ],
  controllers: [TypeOrmController],
  providers: [TypeOrmLibrary],
})
export class TypeOrmLibraryModule {}
