import { Controller, HttpCode, Param, ParseIntPipe, Post } from '@nestjs/common';
import { SalesService } from './sales.service.js';

@Controller()
export class SalesController {
  constructor(private readonly sales: SalesService) {}

  @Post('deliver/:name/:count')
  @HttpCode(204)
  deliver(@Param('name') name: string, @Param('count', ParseIntPipe) count: number): Promise<void> {
    return this.sales.deliver(name, count);
  }

  @Post('sell/:name/:count')
  sell(
    @Param('name') name: string,
    @Param('count', ParseIntPipe) count: number,
  ): Promise<{ name: string; left: number }> {
    return this.sales.sell(name, count);
  }
}
