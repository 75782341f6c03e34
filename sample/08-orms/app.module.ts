import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { ClsLibraryModule } from './cls/cls-library.module.js';
import { DrizzleLibraryModule } from './drizzle/drizzle-library.module.js';
import { KnexLibraryModule } from './knex/knex-library.module.js';
import { KyselyLibraryModule } from './kysely/kysely-library.module.js';
import { MikroOrmLibraryModule } from './mikro-orm/mikro-orm-library.module.js';
import { dsn } from './node.js';
import { ObjectionLibraryModule } from './objection/objection-library.module.js';
import { SequelizeLibraryModule } from './sequelize/sequelize-library.module.js';
import { StatusController } from './status.controller.js';
import { TypeOrmLibraryModule } from './typeorm/typeorm-library.module.js';

/** One database, and eight libraries that know nothing of each other: each has tables of its own in it. */
@Module({
  imports: [
    HAModule.forRoot(dsn),
    KyselyLibraryModule,
    TypeOrmLibraryModule,
    KnexLibraryModule,
    ObjectionLibraryModule,
    MikroOrmLibraryModule,
    DrizzleLibraryModule,
    SequelizeLibraryModule,
    ClsLibraryModule,
  ],
  controllers: [StatusController],
})
export class AppModule {}
