import { Module } from '@nestjs/common';
import { HARemoteModule } from 'nestjs-ha/grpc';
import { SalesController } from './sales.controller.js';
import { SalesService } from './sales.service.js';

@Module({
  imports: [
    HARemoteModule.forRoot({
      url: process.env.STOCK_URL ?? 'http://127.0.0.1:5001',
      token: process.env.STOCK_TOKEN ?? 'secret',
      replicationID: 'stock',
    }),
  ],
  controllers: [SalesController],
  providers: [SalesService],
})
export class AppModule {}
