import { Controller, Get } from '@nestjs/common';
import { ItemsService } from './items.service.js';
import type { Item } from './items.service.js';

@Controller('items')
export class ItemsController {
  constructor(private readonly items: ItemsService) {}

  @Get()
  list(): Promise<Item[]> {
    return this.items.list();
  }
}
