import { BadRequestException, Body, Controller, Get, Param, Post } from '@nestjs/common';
import { TenantsService } from './tenants.service.js';
import type { Order, TenantRevenue } from './tenants.service.js';

@Controller()
export class TenantsController {
  constructor(private readonly tenants: TenantsService) {}

  @Post('tenants/:tenant/orders')
  order(@Param('tenant') tenant: string, @Body() { item, cents }: Order): Promise<void> {
    if (!/^[a-z0-9]+$/.test(tenant)) throw new BadRequestException('A tenant is named by letters and digits.');
    if (typeof item !== 'string' || !Number.isInteger(cents))
      throw new BadRequestException('An order has item and cents.');
    return this.tenants.order(tenant, { item, cents });
  }

  @Get('tenants/:tenant/orders')
  orders(@Param('tenant') tenant: string): Promise<Order[]> {
    if (!/^[a-z0-9]+$/.test(tenant)) throw new BadRequestException('A tenant is named by letters and digits.');
    return this.tenants.orders(tenant);
  }

  @Get('revenue')
  revenue(): Promise<TenantRevenue[]> {
    return this.tenants.revenue();
  }

  @Get('best-sellers')
  bestSellers(): Promise<unknown[]> {
    return this.tenants.bestSellers();
  }
}
