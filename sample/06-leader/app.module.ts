import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { LeaderController } from './leader.controller.js';
import { dsn } from './node.js';
import { OrdersModule } from './orders/orders.module.js';

@Module({
  imports: [HAModule.forRoot(dsn), OrdersModule],
  controllers: [LeaderController],
})
export class AppModule {}
