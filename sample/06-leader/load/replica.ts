import { NestFactory } from '@nestjs/core';
import { HADatabase, HAModule } from 'nestjs-ha';

/** A read replica of the orders, with the NATS server of all beside it: what it holds is what the stream holds. */
export class Replica {
  private constructor(
    private readonly close: () => Promise<void>,
    private readonly db: HADatabase,
  ) {}

  static async start(folder: string, natsPort: number): Promise<Replica> {
    const nats = `natsPort=${natsPort}&natsStoreDir=${encodeURIComponent(`${folder}/nats`)}`;
    const dsn = `file:${encodeURI(folder)}/replica.db?name=replica&replicationID=orders&disablePublisher=true&${nats}`;
    const app = await NestFactory.createApplicationContext(HAModule.forRoot(dsn), { logger: ['error', 'warn'] });
    return new Replica(() => app.close(), app.get(HADatabase));
  }

  /** Orders by id, and how many pieces were sold in all, once everything up to a sequence is here. */
  async sales(sequence: bigint): Promise<{ readonly orders: Map<string, number>; readonly sold: number }> {
    await this.db.waitFor(sequence, { timeout: 60_000 });
    const rows = await this.db.all<{ id: string; quantity: number }>('SELECT id, quantity FROM orders');
    const total = await this.db.get<{ sold: number }>('SELECT ifnull(sum(sold), 0) AS sold FROM sales');
    return { orders: new Map(rows.map(({ id, quantity }) => [id, quantity])), sold: total?.sold ?? 0 };
  }

  stop(): Promise<void> {
    return this.close();
  }
}
