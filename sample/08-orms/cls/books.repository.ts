import { Injectable } from '@nestjs/common';
import { TransactionHost } from '@nestjs-cls/transactional';
import type { HATransactionalAdapter } from 'nestjs-ha/cls';
import type { Book } from '../library/library.js';

const TABLE = `
  CREATE TABLE IF NOT EXISTS cls_book(
    id INTEGER PRIMARY KEY,
    author INTEGER NOT NULL REFERENCES cls_author,
    title TEXT NOT NULL,
    copies INTEGER NOT NULL
  ) STRICT`;

/** Knows nothing of transactions: `tx` is the one of its caller, or the database where there is none. */
@Injectable()
export class BooksRepository {
  constructor(private readonly host: TransactionHost<HATransactionalAdapter>) {}

  makeTable(): Promise<void> {
    return this.host.tx.exec(TABLE);
  }

  list(): Promise<(Book & { readonly author: number })[]> {
    return this.host.tx.all('SELECT id, author, title, copies FROM cls_book ORDER BY id');
  }

  find(...ids: readonly number[]): Promise<Book[]> {
    return this.host.tx.all('SELECT id, title, copies FROM cls_book WHERE id IN (SELECT value FROM json_each(?))', [
      JSON.stringify(ids),
    ]);
  }

  async add(author: number, { title, copies }: Omit<Book, 'id'>): Promise<Book> {
    const insert = 'INSERT INTO cls_book(author, title, copies) VALUES(?, ?, ?)';
    const { lastInsertRowid } = await this.host.tx.run(insert, [author, title, copies]);
    return { id: Number(lastInsertRowid), title, copies };
  }

  async setCopies(id: number, copies: number): Promise<void> {
    await this.host.tx.run('UPDATE cls_book SET copies = ? WHERE id = ?', [copies, id]);
  }
}
