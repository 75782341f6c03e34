import { Inject, Injectable } from '@nestjs/common';
import { asc, eq, inArray } from 'drizzle-orm';
import type { Author, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import type { Drizzle } from './drizzle.provider.js';
import { DRIZZLE } from './drizzle.provider.js';
import { authors, books } from './schema.js';

/** Its transactions are run again by themselves where others came first. */
@Injectable()
export class DrizzleLibrary implements Library {
  constructor(@Inject(DRIZZLE) private readonly db: Drizzle) {}

  list(): Promise<Author[]> {
    return this.db.query.authors.findMany({
      with: { books: { columns: { id: true, title: true, copies: true }, orderBy: asc(books.id) } },
      orderBy: asc(authors.id),
    });
  }

  create({ name, books: titles }: NewAuthor): Promise<Author> {
    return this.db.transaction(async (tx) => {
      const author = await tx.insert(authors).values({ name }).returning().get();
      const rows = titles.map(({ title, copies }) => ({ authorId: author.id, title, copies }));
      const { id, title, copies } = books;
      const stored = rows.length === 0 ? [] : await tx.insert(books).values(rows).returning({ id, title, copies });
      return { ...author, books: stored };
    });
  }

  /** Exclusive: it is stored only if nobody wrote since it read. */
  transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    return this.db.transaction(
      async (tx) => {
        const found = await tx
          .select()
          .from(books)
          .where(inArray(books.id, [from, to]));
        const left = transferred(found, transfer);
        await tx.update(books).set({ copies: left.from }).where(eq(books.id, from));
        await tx.update(books).set({ copies: left.to }).where(eq(books.id, to));
        return left;
      },
      { behavior: 'exclusive' },
    );
  }
}
