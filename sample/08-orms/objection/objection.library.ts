import { Inject, Injectable } from '@nestjs/common';
import type { OnModuleDestroy } from '@nestjs/common';
import type { Knex } from 'knex';
import { orderedTransaction } from 'nestjs-ha/knex';
import type { Author, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import { AuthorModel, BookModel } from './models.js';
import { OBJECTION_KNEX } from './objection.provider.js';

@Injectable()
export class ObjectionLibrary implements Library, OnModuleDestroy {
  constructor(@Inject(OBJECTION_KNEX) private readonly knex: Knex) {}

  onModuleDestroy(): Promise<void> {
    return this.knex.destroy();
  }

  async list(): Promise<Author[]> {
    const authors = await AuthorModel.query()
      .orderBy('id')
      .withGraphFetched('books')
      .modifyGraph('books', (books) => void books.orderBy('id'));
    return authors.map(authorOf);
  }

  create({ name, books }: NewAuthor): Promise<Author> {
    const graph = { name, books: books.map((book) => ({ ...book })) };
    return orderedTransaction(this.knex, async (trx) => authorOf(await AuthorModel.query(trx).insertGraph(graph)));
  }

  /** It is stored only if nobody wrote since it read; run again where somebody did. */
  transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    return orderedTransaction(this.knex, async (trx) => {
      const left = transferred(await BookModel.query(trx).findByIds([from, to]), transfer);
      await BookModel.query(trx).findById(from).patch({ copies: left.from });
      await BookModel.query(trx).findById(to).patch({ copies: left.to });
      return left;
    });
  }
}

function authorOf({ id, name, books }: AuthorModel): Author {
  return { id, name, books: books.map((book) => ({ id: book.id, title: book.title, copies: book.copies })) };
}
