import { Column, Entity, ManyToOne, OneToMany, PrimaryGeneratedColumn } from 'typeorm';
import type { Relation } from 'typeorm';

@Entity('typeorm_author')
export class AuthorEntity {
  @PrimaryGeneratedColumn()
  id!: number;

  @Column('text')
  name!: string;

  @OneToMany(() => BookEntity, ({ author }) => author, { cascade: ['insert'] })
  books!: Relation<BookEntity[]>;
}

@Entity('typeorm_book')
export class BookEntity {
  @PrimaryGeneratedColumn()
  id!: number;

  @Column('text')
  title!: string;

  @Column('integer')
  copies!: number;

  @ManyToOne(() => AuthorEntity, ({ books }) => books, { nullable: false })
  author!: Relation<AuthorEntity>;
}
