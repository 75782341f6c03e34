import { Injectable } from '@nestjs/common';
import { HttpCDCTarget } from 'nestjs-ha/cdc';
import type { HACDCContext, HACDCEvent, HACDCTarget } from 'nestjs-ha/cdc';
import { Warehouse } from './warehouse.js';

/** Posts every change to the warehouse. */
@Injectable()
export class OrdersWebhook implements HACDCTarget {
  constructor(private readonly warehouse: Warehouse) {}

  deliver(events: readonly HACDCEvent[], context: HACDCContext): Promise<void> {
    return new HttpCDCTarget(this.warehouse.url).deliver(events, context);
  }
}
