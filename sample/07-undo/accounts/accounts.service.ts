import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';

export interface Account {
  id: number;
  owner: string;
  balance: number;
}

/** Every write says who did it: in a row of the same transaction, which is what the history shows it with. */
@Injectable()
export class AccountsService implements OnModuleInit {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec(`
      CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS deeds (id INTEGER PRIMARY KEY, who TEXT NOT NULL, what TEXT NOT NULL);`);
  }

  findAll(): Promise<Account[]> {
    return this.db.all<Account>('SELECT * FROM accounts ORDER BY id');
  }

  open(who: string, owner: string, balance: number): Promise<Account> {
    return this.db.transaction(async (tx) => {
      await tx.run('INSERT INTO deeds (who, what) VALUES (?, ?)', [who, `opens an account for ${owner}`]);
      const sql = 'INSERT INTO accounts (owner, balance) VALUES (?, ?) RETURNING *';
      return (await tx.get<Account>(sql, [owner, balance])) as Account;
    });
  }

  /** Pays interest on every account: one wrong number, and all of them are wrong. */
  async payInterest(who: string, percent: number): Promise<void> {
    await this.db.transaction(async (tx) => {
      await tx.run('INSERT INTO deeds (who, what) VALUES (?, ?)', [who, `pays ${percent} % of interest`]);
      await tx.run('UPDATE accounts SET balance = balance + CAST(balance * ? / 100 AS INTEGER)', [percent]);
    });
  }
}
