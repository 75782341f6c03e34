import { Injectable } from '@nestjs/common';
import { Kysely, ParseJSONResultsPlugin } from 'kysely';
import { jsonArrayFrom } from 'kysely/helpers/sqlite';
import { again } from '../library/again.js';
import type { Author, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import type { Schema } from './schema.js';

@Injectable()
export class KyselyLibrary implements Library {
  constructor(private readonly db: Kysely<Schema>) {}

  list(): Promise<Author[]> {
    return this.db
      .withPlugin(new ParseJSONResultsPlugin())
      .selectFrom('kysely_author')
      .select((author) => [
        'id',
        'name',
        jsonArrayFrom(
          author
            .selectFrom('kysely_book')
            .select(['kysely_book.id', 'title', 'copies'])
            .whereRef('author_id', '=', 'kysely_author.id')
            .orderBy('kysely_book.id'),
        ).as('books'),
      ])
      .orderBy('id')
      .execute();
  }

  create({ name, books }: NewAuthor): Promise<Author> {
    return again(() =>
      this.db.transaction().execute(async (trx) => {
        const author = await trx
          .insertInto('kysely_author')
          .values({ name })
          .returning(['id', 'name'])
          .executeTakeFirstOrThrow();
        if (books.length === 0) return { ...author, books: [] };
        const rows = books.map(({ title, copies }) => ({ author_id: author.id, title, copies }));
        const stored = await trx.insertInto('kysely_book').values(rows).returning(['id', 'title', 'copies']).execute();
        return { ...author, books: stored };
      }),
    );
  }

  /** Serializable: it is stored only if nobody wrote since it read. */
  transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    const transaction = this.db.transaction().setIsolationLevel('serializable');
    return again(() =>
      transaction.execute(async (trx) => {
        const books = await trx
          .selectFrom('kysely_book')
          .select(['id', 'copies'])
          .where('id', 'in', [from, to])
          .execute();
        const left = transferred(books, transfer);
        await trx.updateTable('kysely_book').set({ copies: left.from }).where('id', '=', from).execute();
        await trx.updateTable('kysely_book').set({ copies: left.to }).where('id', '=', to).execute();
        return left;
      }),
    );
  }
}
