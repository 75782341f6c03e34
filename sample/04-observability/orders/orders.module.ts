import { Module } from '@nestjs/common';
import { OrderFeed } from './order-feed.js';
import { OrdersController } from './orders.controller.js';
import { OrdersService } from './orders.service.js';

@Module({ controllers: [OrdersController], providers: [OrdersService, OrderFeed] })
export class OrdersModule {}
