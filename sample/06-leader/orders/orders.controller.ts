import {
  Body,
  Controller,
  Get,
  NotFoundException,
  Param,
  ParseUUIDPipe,
  Put,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { ConsistentReadInterceptor, LeaderGuard } from 'nestjs-ha';
import { PlaceOrderDto } from './dto/place-order.dto.js';
import type { Order, Sales } from './orders.service.js';
import { OrdersService } from './orders.service.js';

/** Any node takes any request: the leader writes, and a client sees what it wrote. */
@Controller('orders')
@UseGuards(LeaderGuard)
@UseInterceptors(ConsistentReadInterceptor)
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  /** The client chooses the id: whatever happens on the way, it may send its order again. */
  @Put(':id')
  place(@Param('id', ParseUUIDPipe) id: string, @Body() { item, quantity }: PlaceOrderDto): Promise<Order> {
    return this.orders.place({ id, item, quantity });
  }

  @Get()
  sales(): Promise<Sales> {
    return this.orders.sales();
  }

  @Get(':id')
  async find(@Param('id', ParseUUIDPipe) id: string): Promise<Order> {
    const order = await this.orders.find(id);
    if (order === undefined) throw new NotFoundException(`There is no order ${id}.`);
    return order;
  }
}
