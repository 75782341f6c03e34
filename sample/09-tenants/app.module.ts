import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { TenantsModule } from './tenants/tenants.module.js';

/** Where the databases are; one file for each tenant. */
const FOLDER = process.env.TENANTS_FOLDER ?? '.';

@Module({
  imports: [
    HAModule.forRoot([{ connection: 'reports', dsn: `file:${FOLDER}/reports.db`, allowCrossDatabase: true }], {
      databases: (connection) => `file:${FOLDER}/${connection}.db`,
      maxOpen: 50,
    }),
    TenantsModule,
  ],
})
export class AppModule {}
