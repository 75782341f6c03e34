import { Injectable } from '@nestjs/common';
import { InjectConnection, InjectModel } from '@nestjs/sequelize';
import { Transaction } from 'sequelize';
import { Sequelize } from 'sequelize-typescript';
import { again } from '../library/again.js';
import type { Author, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import { AuthorModel, BookModel } from './models.js';

/** Stored only if nobody wrote since it read. */
const SERIALIZABLE = { type: Transaction.TYPES.EXCLUSIVE };

@Injectable()
export class SequelizeLibrary implements Library {
  constructor(
    @InjectModel(AuthorModel) private readonly authors: typeof AuthorModel,
    @InjectModel(BookModel) private readonly books: typeof BookModel,
    @InjectConnection() private readonly sequelize: Sequelize,
  ) {}

  async list(): Promise<Author[]> {
    const authors = await this.authors.findAll({ include: [BookModel], order: ['id', ['books', 'id', 'ASC']] });
    return authors.map(authorOf);
  }

  create({ name, books }: NewAuthor): Promise<Author> {
    return again(() =>
      this.sequelize.transaction(async (transaction) => {
        const author = await this.authors.create({ name }, { transaction });
        const rows = books.map(({ title, copies }) => ({ title, copies, authorId: author.id }));
        const stored = await this.books.bulkCreate(rows, { transaction });
        return authorOf({ id: author.id, name, books: stored });
      }),
    );
  }

  transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    return again(() =>
      this.sequelize.transaction(SERIALIZABLE, async (transaction) => {
        const left = transferred(await this.books.findAll({ where: { id: [from, to] }, transaction }), transfer);
        await this.books.update({ copies: left.from }, { where: { id: from }, transaction });
        await this.books.update({ copies: left.to }, { where: { id: to }, transaction });
        return left;
      }),
    );
  }
}

function authorOf({ id, name, books }: Pick<AuthorModel, 'id' | 'name' | 'books'>): Author {
  return { id, name, books: books.map((book) => ({ id: book.id, title: book.title, copies: book.copies })) };
}
