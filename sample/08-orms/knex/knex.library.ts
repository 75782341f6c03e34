import { Inject, Injectable } from '@nestjs/common';
import type { OnModuleDestroy } from '@nestjs/common';
import type { Knex } from 'knex';
import { orderedTransaction } from 'nestjs-ha/knex';
import type { Author, Book, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import { withBooks } from '../library/with-books.js';
import { KNEX } from './knex.token.js';

interface AuthorRow {
  readonly id: number;
  readonly name: string;
}

interface BookRow extends Book {
  readonly author_id: number;
}

@Injectable()
export class KnexLibrary implements Library, OnModuleDestroy {
  constructor(@Inject(KNEX) private readonly knex: Knex) {}

  onModuleDestroy(): Promise<void> {
    return this.knex.destroy();
  }

  async list(): Promise<Author[]> {
    const authors = await this.knex<AuthorRow>('knex_author').orderBy('id');
    const books = await this.knex<BookRow>('knex_book')
      .select('id', 'title', 'copies', 'author_id as author')
      .orderBy('id');
    return withBooks(authors, books);
  }

  /** `orderedTransaction` runs it again where others came first. */
  create({ name, books }: NewAuthor): Promise<Author> {
    return orderedTransaction(this.knex, async (trx) => {
      const [author] = await trx<AuthorRow>('knex_author').insert({ name }).returning(['id', 'name']);
      const { id } = author as AuthorRow;
      const rows = books.map(({ title, copies }) => ({ author_id: id, title, copies }));
      const stored =
        rows.length === 0 ? [] : await trx<BookRow>('knex_book').insert(rows).returning(['id', 'title', 'copies']);
      return { id, name, books: stored };
    });
  }

  /** It is stored only if nobody wrote since it read. */
  transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    return orderedTransaction(this.knex, async (trx) => {
      const books = await trx<BookRow>('knex_book').whereIn('id', [from, to]);
      const left = transferred(books, transfer);
      await trx<BookRow>('knex_book').where({ id: from }).update({ copies: left.from });
      await trx<BookRow>('knex_book').where({ id: to }).update({ copies: left.to });
      return left;
    });
  }
}
