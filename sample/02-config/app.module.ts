import { Module } from '@nestjs/common';
import { ConfigModule } from '@nestjs/config';
import { HAModule } from 'nestjs-ha';
import { createHAConfig, haConfig, haSchema } from 'nestjs-ha/config';
import { UsersController } from './users.controller.js';
import { UsersService } from './users.service.js';

const auditConfig = createHAConfig({ key: 'audit', prefix: 'AUDIT_HA_' });

@Module({
  imports: [
    ConfigModule.forRoot({
      envFilePath: process.env.SETTINGS ?? 'sample/02-config/settings.env',
      validationSchema: haSchema,
    }),
    HAModule.forRootAsync(haConfig.asProvider()),
    HAModule.forRootAsync({ connection: 'audit', ...auditConfig.asProvider() }),
  ],
  controllers: [UsersController],
  providers: [UsersService],
})
export class AppModule {}
