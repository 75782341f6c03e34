import { ConflictException, Injectable } from '@nestjs/common';
import type { OnApplicationBootstrap, OnModuleDestroy } from '@nestjs/common';
import { HADatabase, HALeader, InjectHA } from 'nestjs-ha';
import { filter, Subject, takeUntil } from 'rxjs';

export interface Order {
  readonly id: string;
  readonly item: string;
  readonly quantity: number;
}

/** What was sold, counted in two ways: they have to agree. */
export interface Sales {
  readonly orders: number;
  readonly ordered: number;
  readonly sold: number;
}

const TABLES = `
  CREATE TABLE IF NOT EXISTS orders(id TEXT PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS sales(item TEXT PRIMARY KEY, sold INTEGER NOT NULL) STRICT`;

@Injectable()
export class OrdersService implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly stopped = new Subject<void>();
  private tables: Promise<void> | undefined;

  constructor(
    @InjectHA() private readonly db: HADatabase,
    private readonly leader: HALeader,
  ) {}

  /** The leader makes the tables, whoever that is; the others get them from the stream. */
  onApplicationBootstrap(): void {
    const leads = this.leader.changes.pipe(filter(({ isLeader }) => isLeader));
    leads.pipe(takeUntil(this.stopped)).subscribe(() => void this.makeTables().catch(() => undefined));
  }

  onModuleDestroy(): void {
    this.stopped.next();
  }

  /** An order that is there already is left as it is, and sold once. */
  async place(order: Order): Promise<Order> {
    await this.makeTables();
    const { id, item, quantity } = order;
    return this.db.transaction(async (tx) => {
      const known = await tx.get<Order>('SELECT id, item, quantity FROM orders WHERE id = ?', [id]);
      if (known === undefined) {
        await tx.run('INSERT INTO orders(id, item, quantity) VALUES(?, ?, ?)', [id, item, quantity]);
        await tx.run(
          'INSERT INTO sales(item, sold) VALUES(?, ?) ON CONFLICT(item) DO UPDATE SET sold = sold + excluded.sold',
          [item, quantity],
        );
      } else if (known.item !== item || known.quantity !== quantity) {
        throw new ConflictException(`There is another order ${id}.`);
      }
      return order;
    });
  }

  find(id: string): Promise<Order | undefined> {
    return this.db.get<Order>('SELECT id, item, quantity FROM orders WHERE id = ?', [id]);
  }

  async sales(): Promise<Sales> {
    const sales = await this.db.get<Sales>(`
      SELECT (SELECT count(*) FROM orders) AS orders,
             (SELECT ifnull(sum(quantity), 0) FROM orders) AS ordered,
             (SELECT ifnull(sum(sold), 0) FROM sales) AS sold`);
    return sales as Sales;
  }

  /** Once; again where it failed, for this node may have lost the lead on the way. */
  private makeTables(): Promise<void> {
    this.tables ??= this.db.exec(TABLES).catch((error: unknown) => {
      this.tables = undefined;
      throw error;
    });
    return this.tables;
  }
}
