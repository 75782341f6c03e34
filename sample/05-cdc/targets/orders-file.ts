import { Injectable } from '@nestjs/common';
import { FileCDCTarget } from 'nestjs-ha/cdc';

/** Keeps every change in a file, one line each. */
@Injectable()
export class OrdersFile extends FileCDCTarget {
  constructor() {
    super(process.env.CDC_FILE ?? 'orders-events.jsonl');
  }
}
