import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';

export interface Order {
  id: number;
  item: string;
  state: string;
}

@Injectable()
export class OrdersService implements OnModuleInit {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec(
      `CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'new')`,
    );
  }

  async create(item: string): Promise<Order> {
    return (await this.db.get<Order>('INSERT INTO orders (item) VALUES (?) RETURNING *', [item])) as Order;
  }

  setState(id: number, state: string): Promise<Order | undefined> {
    return this.db.get<Order>('UPDATE orders SET state = ? WHERE id = ? RETURNING *', [state, id]);
  }

  async remove(id: number): Promise<void> {
    await this.db.run('DELETE FROM orders WHERE id = ?', [id]);
  }
}
