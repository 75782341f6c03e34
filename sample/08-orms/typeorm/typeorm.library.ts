import { Injectable } from '@nestjs/common';
import { InjectDataSource, InjectRepository } from '@nestjs/typeorm';
import { DataSource, In, Repository } from 'typeorm';
import { again } from '../library/again.js';
import type { Author, Library, NewAuthor, Transfer, Transferred } from '../library/library.js';
import { transferred } from '../library/transferred.js';
import { AuthorEntity, BookEntity } from './author.entity.js';

@Injectable()
export class TypeOrmLibrary implements Library {
  constructor(
    @InjectRepository(AuthorEntity) private readonly authors: Repository<AuthorEntity>,
    @InjectDataSource() private readonly dataSource: DataSource,
  ) {}

  list(): Promise<Author[]> {
    return this.authors.find({ relations: { books: true }, order: { id: 'ASC', books: { id: 'ASC' } } });
  }

  /** TypeORM saves the author and the books in one transaction. */
  async create({ name, books }: NewAuthor): Promise<Author> {
    // Made anew each time: TypeORM writes the ids into it.
    const { id, ...author } = await again(() =>
      this.authors.save(this.authors.create({ name, books: books.map((book) => ({ ...book })) })),
    );
    return { id, name, books: author.books.map(({ id: book, title, copies }) => ({ id: book, title, copies })) };
  }

  /** Serializable: it is stored only if nobody wrote since it read. */
  transfer(transfer: Transfer): Promise<Transferred> {
    const { from, to } = transfer;
    return again(() =>
      this.dataSource.transaction('SERIALIZABLE', async (manager) => {
        const books = manager.getRepository(BookEntity);
        const left = transferred(await books.findBy({ id: In([from, to]) }), transfer);
        await books.update(from, { copies: left.from });
        await books.update(to, { copies: left.to });
        return left;
      }),
    );
  }
}
