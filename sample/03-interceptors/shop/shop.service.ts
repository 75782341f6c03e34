import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';

export interface Product {
  product: number;
  name: string;
  price: number;
  amount: number;
  sold: number;
}

export interface Sale {
  id: number;
  product: number;
  quantity: number;
}

@Injectable()
export class ShopService implements OnModuleInit {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec(`
      CREATE TABLE IF NOT EXISTS prices (product INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL, updated_at INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS stock (product INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS sales (id INTEGER PRIMARY KEY, product INTEGER NOT NULL, quantity INTEGER NOT NULL)`);
  }

  async add(product: number, name: string, price: number, amount: number): Promise<Product | undefined> {
    await this.db.transaction(async (tx) => {
      await tx.run('INSERT INTO prices VALUES (?, ?, ?, ?)', [product, name, price, Date.now()]);
      await tx.run('INSERT INTO stock VALUES (?, ?)', [product, amount]);
    });
    return (await this.findAll()).find((one) => one.product === product);
  }

  /** Undefined where others were faster, and there was not enough left. */
  async sell(product: number, quantity: number): Promise<Sale | undefined> {
    const { id } = await this.db.transaction(async (tx) => {
      await tx.run('UPDATE stock SET amount = amount - ? WHERE product = ?', [quantity, product]);
      const sql = 'INSERT INTO sales VALUES (ha_id(), ?, ?) RETURNING id';
      return (await tx.get<{ id: number }>(sql, [product, quantity])) as { id: number };
    });
    // It has its place in the stream by now, so the interceptors have decided.
    return this.db.get<Sale>('SELECT * FROM sales WHERE id = ?', [id]);
  }

  async setPrice(product: number, price: number, at: number): Promise<void> {
    await this.db.run('UPDATE prices SET price = ?, updated_at = ? WHERE product = ?', [price, at, product]);
  }

  findAll(): Promise<Product[]> {
    return this.db.all<Product>(`
      SELECT product, name, price, amount, (SELECT total(quantity) FROM sales WHERE sales.product = prices.product) AS sold
      FROM prices JOIN stock USING (product) ORDER BY product`);
  }
}
