import { Injectable } from '@nestjs/common';
import type { MessageEvent, OnModuleDestroy } from '@nestjs/common';
import { OnHAChange } from 'nestjs-ha';
import type { HAChange } from 'nestjs-ha';
import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';

/** Tells browsers what happens to orders, on whichever node it happens. */
@Injectable()
export class OrderFeed implements OnModuleDestroy {
  private readonly news = new Subject<MessageEvent>();

  get events(): Observable<MessageEvent> {
    return this.news;
  }

  @OnHAChange('orders')
  tell({ operation, before, after, sequence, node }: HAChange): void {
    this.news.next({ id: `${sequence}`, type: operation, data: { before, after, node } });
  }

  /** Ends open streams, which would keep the server from closing. */
  onModuleDestroy(): void {
    this.news.complete();
  }
}
