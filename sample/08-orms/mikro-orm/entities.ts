import { Collection, Entity, ManyToOne, OneToMany, PrimaryKey, Property } from '@mikro-orm/core';
import type { Rel } from '@mikro-orm/core';

@Entity({ tableName: 'mikro_author' })
export class AuthorEntity {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({ type: 'text' })
  name!: string;

  @OneToMany(() => BookEntity, ({ author }) => author, { orderBy: { id: 'asc' } })
  books = new Collection<BookEntity>(this);
}

@Entity({ tableName: 'mikro_book' })
export class BookEntity {
  @PrimaryKey({ type: 'integer' })
  id!: number;

  @Property({ type: 'text' })
  title!: string;

  @Property({ type: 'integer' })
  copies!: number;

  @ManyToOne(() => AuthorEntity)
  author!: Rel<AuthorEntity>;
}
