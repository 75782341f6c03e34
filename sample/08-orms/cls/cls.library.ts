import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { Transactional, TransactionHost } from '@nestjs-cls/transactional';
import type { HATransactionalAdapter } from 'nestjs-ha/cls';
import type { Author, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import { withBooks } from '../library/with-books.js';
import { BooksRepository } from './books.repository.js';

/** SQL, with transactions by decorator: they are run again by themselves where others came first. */
@Injectable()
export class ClsLibrary implements Library, OnModuleInit {
  constructor(
    private readonly host: TransactionHost<HATransactionalAdapter>,
    private readonly books: BooksRepository,
  ) {}

  /** Both nodes do so when they start: the second finds the tables. */
  async onModuleInit(): Promise<void> {
    await this.host.tx.exec('CREATE TABLE IF NOT EXISTS cls_author(id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT');
    await this.books.makeTable();
  }

  async list(): Promise<Author[]> {
    const authors = await this.host.tx.all<Omit<Author, 'books'>>('SELECT id, name FROM cls_author ORDER BY id');
    return withBooks(authors, await this.books.list());
  }

  /** The repository takes part in the transaction. */
  @Transactional()
  async create({ name, books }: NewAuthor): Promise<Author> {
    const { lastInsertRowid } = await this.host.tx.run('INSERT INTO cls_author(name) VALUES(?)', [name]);
    const id = Number(lastInsertRowid);
    const stored = [];
    for (const book of books) stored.push(await this.books.add(id, book));
    return { id, name, books: stored };
  }

  /** It is stored only if nobody wrote since it read. */
  @Transactional<HATransactionalAdapter>({ serializable: true })
  async transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    const left = transferred(await this.books.find(from, to), transfer);
    await this.books.setCopies(from, left.from);
    await this.books.setCopies(to, left.to);
    return left;
  }
}
