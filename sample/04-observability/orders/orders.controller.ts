import { Body, Controller, Get, NotFoundException, Param, ParseIntPipe, Post, Put, Sse } from '@nestjs/common';
import type { MessageEvent } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { OrderFeed } from './order-feed.js';
import { OrdersService } from './orders.service.js';
import type { Order } from './orders.service.js';

@Controller('orders')
export class OrdersController {
  constructor(
    private readonly orders: OrdersService,
    private readonly feed: OrderFeed,
  ) {}

  @Post()
  create(@Body('item') item: string): Promise<Order> {
    return this.orders.create(item);
  }

  @Get()
  findAll(): Promise<Order[]> {
    return this.orders.findAll();
  }

  @Put(':id/state')
  async setState(@Param('id', ParseIntPipe) id: number, @Body('state') state: string): Promise<Order> {
    const order = await this.orders.setState(id, state);
    if (order === undefined) throw new NotFoundException(`There is no order ${id}.`);
    return order;
  }

  @Sse('changes')
  changes(): Observable<MessageEvent> {
    return this.feed.events;
  }
}
