import { readdir } from 'node:fs/promises';
import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { HADatabase, HADatabaseRegistry, InjectHA } from 'nestjs-ha';

export interface Order {
  item: string;
  cents: number;
}

export interface TenantRevenue {
  tenant: string;
  orders: number;
  cents: number;
}

@Injectable()
export class TenantsService implements OnModuleInit {
  constructor(
    private readonly registry: HADatabaseRegistry,
    @InjectHA('reports') private readonly reports: HADatabase,
  ) {}

  /** What is not opened is not asked: tenants of earlier runs are opened once; `maxOpen` closes their files again. */
  async onModuleInit(): Promise<void> {
    for (const file of await readdir(process.env.TENANTS_FOLDER ?? '.')) {
      const [, tenant] = /^tenant-([a-z0-9]+)[.]db$/.exec(file) ?? [];
      if (tenant !== undefined) await this.database(tenant);
    }
  }

  async order(tenant: string, { item, cents }: Order): Promise<void> {
    const db = await this.database(tenant);
    await db.run('INSERT INTO orders(item, cents) VALUES (?, ?)', [item, cents]);
  }

  async orders(tenant: string): Promise<Order[]> {
    const db = await this.database(tenant);
    return db.all('SELECT item, cents FROM orders ORDER BY id');
  }

  /** One row for each tenant. */
  revenue(): Promise<TenantRevenue[]> {
    return this.reports.all(`/*+ db=tenant-.* */
      SELECT _ha_db AS tenant, count(*) AS orders, sum(cents) AS cents FROM orders GROUP BY _ha_db ORDER BY cents DESC`);
  }

  /** Over all tenants together. */
  bestSellers(): Promise<unknown[]> {
    return this.reports.all(`/*+ db=tenant-.* */
      SELECT item, count(*) AS sold, avg(cents) AS price FROM orders GROUP BY item ORDER BY sold DESC, item LIMIT 3`);
  }

  private async database(tenant: string): Promise<HADatabase> {
    const db = await this.registry.open(`tenant-${tenant}`);
    await db.exec('CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY, item TEXT COLLATE NOCASE, cents INTEGER)');
    return db;
  }
}
