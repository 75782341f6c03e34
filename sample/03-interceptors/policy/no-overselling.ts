import { Injectable } from '@nestjs/common';
import { newValue, oldValue } from 'nestjs-ha';
import type { HAChangeSet, HAInterceptedChange, HAInterceptor, HAInterceptorContext } from 'nestjs-ha';
import { SalesPolicy } from './sales-policy.js';

/** Leaves out a sale as a whole where others were faster, and took what it needs. */
@Injectable()
export class NoOverselling implements HAInterceptor {
  readonly tables = ['stock'];

  constructor(private readonly policy: SalesPolicy) {}

  beforeApply({ changes }: HAChangeSet, context: HAInterceptorContext): 'pass' | 'skip' {
    return changes.some((change) => this.sellsTooMuch(change, context)) ? 'skip' : 'pass';
  }

  private sellsTooMuch(change: HAInterceptedChange, context: HAInterceptorContext): boolean {
    if (change.operation !== 'UPDATE' || change.table !== 'stock') return false;
    const [product, before, after] = [
      oldValue(change, 'product'),
      oldValue(change, 'amount'),
      newValue(change, 'amount'),
    ];
    if (typeof product !== 'bigint' || typeof before !== 'bigint' || typeof after !== 'bigint') return false;
    // What is in stock at this place in the stream, and not what the seller saw.
    const stock = context.get<{ amount: bigint }>('SELECT amount FROM stock WHERE product = ?', [product]);
    return stock !== undefined && stock.amount + after - before < this.policy.reserve;
  }
}
