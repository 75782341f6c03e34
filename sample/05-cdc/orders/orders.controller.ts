import {
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
  Put,
} from '@nestjs/common';
import { Warehouse } from '../targets/warehouse.js';
import { OrdersService } from './orders.service.js';
import type { Order } from './orders.service.js';

@Controller('orders')
export class OrdersController {
  constructor(
    private readonly orders: OrdersService,
    private readonly warehouse: Warehouse,
  ) {}

  @Post()
  create(@Body('item') item: string): Promise<Order> {
    return this.orders.create(item);
  }

  @Put(':id/state')
  async setState(@Param('id', ParseIntPipe) id: number, @Body('state') state: string): Promise<Order> {
    const order = await this.orders.setState(id, state);
    if (order === undefined) throw new NotFoundException(`There is no order ${id}.`);
    return order;
  }

  @Delete(':id')
  @HttpCode(204)
  remove(@Param('id', ParseIntPipe) id: number): Promise<void> {
    return this.orders.remove(id);
  }

  /** What the receiver behind HTTP made of the events. */
  @Get('warehouse')
  copy(): readonly unknown[] {
    return this.warehouse.rows;
  }
}
