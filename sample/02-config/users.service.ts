import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';

export interface User {
  id: number;
  name: string;
}

export interface Entry {
  what: string;
  at: string;
}

/** Writes to two databases, each replicated by itself: there is no transaction over both. */
@Injectable()
export class UsersService implements OnModuleInit {
  constructor(
    @InjectHA() private readonly users: HADatabase,
    @InjectHA('audit') private readonly audit: HADatabase,
  ) {}

  async onModuleInit(): Promise<void> {
    await this.users.exec('CREATE TABLE IF NOT EXISTS user (id INTEGER PRIMARY KEY, name TEXT NOT NULL)');
    await this.audit.exec(
      `CREATE TABLE IF NOT EXISTS entry (
        id INTEGER PRIMARY KEY, what TEXT NOT NULL, at TEXT NOT NULL DEFAULT (datetime('now')))`,
    );
  }

  async create(name: string): Promise<User> {
    const user = await this.users.get<User>('INSERT INTO user (name) VALUES (?) RETURNING *', [name]);
    await this.audit.run('INSERT INTO entry (what) VALUES (?)', [`user ${user?.id} was created`]);
    return user as User;
  }

  findAll(): Promise<User[]> {
    return this.users.all<User>('SELECT * FROM user ORDER BY id');
  }

  history(): Promise<Entry[]> {
    return this.audit.all<Entry>('SELECT what, at FROM entry ORDER BY id');
  }
}
