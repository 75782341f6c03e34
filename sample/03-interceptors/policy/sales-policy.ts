import { Injectable } from '@nestjs/common';

/** What is sold, and what not. The same on every node: they have to decide alike. */
@Injectable()
export class SalesPolicy {
  /** So many of each product stay in stock. */
  readonly reserve = 0n;
}
