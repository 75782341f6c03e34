import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';

export interface Item {
  readonly name: string;
  readonly count: number;
}

@Injectable()
export class ItemsService implements OnModuleInit {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec(
      'CREATE TABLE IF NOT EXISTS item (name TEXT PRIMARY KEY, count INTEGER NOT NULL CHECK (count >= 0))',
    );
  }

  list(): Promise<Item[]> {
    return this.db.all<Item>('SELECT name, count FROM item ORDER BY name');
  }
}
