import { MikroORM } from '@mikro-orm/better-sqlite';
import { IsolationLevel } from '@mikro-orm/core';
import { Injectable } from '@nestjs/common';
import type { OnModuleDestroy } from '@nestjs/common';
import { again } from '../library/again.js';
import type { Author, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import { AuthorEntity, BookEntity } from './entities.js';

/** Stored only if nobody wrote since it read. */
const SERIALIZABLE = { isolationLevel: IsolationLevel.SERIALIZABLE };

@Injectable()
export class MikroOrmLibrary implements Library, OnModuleDestroy {
  constructor(private readonly orm: MikroORM) {}

  onModuleDestroy(): Promise<void> {
    return this.orm.close();
  }

  async list(): Promise<Author[]> {
    const authors = await this.orm.em.fork().findAll(AuthorEntity, { populate: ['books'], orderBy: { id: 'asc' } });
    return authors.map(authorOf);
  }

  /** Another fork for each attempt: the entities of one that failed are not to be used again. */
  create({ name, books }: NewAuthor): Promise<Author> {
    return again(async () => {
      const em = this.orm.em.fork();
      const author = em.create(AuthorEntity, { name });
      for (const book of books) author.books.add(em.create(BookEntity, { ...book, author }));
      await em.flush();
      return authorOf(author);
    });
  }

  transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    return again(() =>
      this.orm.em.fork().transactional(async (em) => {
        const books = await em.find(BookEntity, [from, to]);
        const left = transferred(books, transfer);
        for (const book of books) book.copies = book.id === from ? left.from : left.to;
        return left;
      }, SERIALIZABLE),
    );
  }
}

function authorOf({ id, name, books }: AuthorEntity): Author {
  return { id, name, books: books.map((book) => ({ id: book.id, title: book.title, copies: book.copies })) };
}
