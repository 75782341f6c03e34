import { Body, ConflictException, Controller, Get, HttpCode, Param, ParseIntPipe, Post, Put } from '@nestjs/common';
import { ShopService } from './shop.service.js';
import type { Product, Sale } from './shop.service.js';

@Controller('products')
export class ShopController {
  constructor(private readonly shop: ShopService) {}

  @Post()
  add(@Body() body: { product: number; name: string; price: number; amount: number }): Promise<Product | undefined> {
    return this.shop.add(body.product, body.name, body.price, body.amount);
  }

  @Post(':product/sales')
  async sell(@Param('product', ParseIntPipe) product: number, @Body('quantity') quantity: number): Promise<Sale> {
    const sale = await this.shop.sell(product, quantity);
    if (sale === undefined) throw new ConflictException('Sold out.');
    return sale;
  }

  @Put(':product/price')
  @HttpCode(204)
  setPrice(
    @Param('product', ParseIntPipe) product: number,
    @Body() { price, at }: { price: number; at: number },
  ): Promise<void> {
    return this.shop.setPrice(product, price, at);
  }

  @Get()
  findAll(): Promise<Product[]> {
    return this.shop.findAll();
  }
}
