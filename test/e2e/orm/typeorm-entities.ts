import {
  Column,
  CreateDateColumn,
  DeleteDateColumn,
  Entity,
  EventSubscriber,
  Index,
  JoinTable,
  ManyToMany,
  ManyToOne,
  OneToMany,
  PrimaryColumn,
  PrimaryGeneratedColumn,
  UpdateDateColumn,
  VersionColumn,
} from 'typeorm';
import type { EntitySubscriberInterface, InsertEvent, MigrationInterface, QueryRunner, Relation } from 'typeorm';

@Entity()
export class Author {
  @PrimaryGeneratedColumn() id!: number;
  @Column('varchar', { unique: true }) name!: string;
  @OneToMany(() => Book, (book) => book.author, { cascade: true }) books!: Relation<Book>[];
}

@Entity()
export class Book {
  @PrimaryGeneratedColumn() id!: number;
  @Index() @Column('varchar') title!: string;
  @ManyToOne(() => Author, (author) => author.books, { onDelete: 'CASCADE' }) author!: Relation<Author>;
  @ManyToMany(() => Tag, { cascade: true }) @JoinTable() tags!: Relation<Tag>[];
}

@Entity()
export class Tag {
  @PrimaryColumn('varchar') name!: string;
}

@Entity()
export class Counter {
  @PrimaryColumn('varchar') name!: string;
  @Column('integer') value!: number;
}

/** One column of every kind. */
@Entity()
export class Sample {
  @PrimaryGeneratedColumn('uuid') id!: string;
  @Column('bigint', { nullable: true }) big!: bigint | number | null;
  @Column('blob', { nullable: true }) blob!: Buffer | null;
  @Column('datetime', { nullable: true }) at!: Date | null;
  @Column('date', { nullable: true }) day!: string | null;
  @Column('boolean', { default: false }) flag!: boolean;
  @Column('real', { nullable: true }) real!: number | null;
  @Column('simple-json', { nullable: true }) json!: unknown;
  @Column('simple-array', { nullable: true }) list!: string[] | null;
  @CreateDateColumn() createdAt!: Date;
  @UpdateDateColumn() updatedAt!: Date;
  @DeleteDateColumn() deletedAt!: Date | null;
  @VersionColumn() version!: number;
}

@Entity()
export class Place {
  @PrimaryColumn('bigint') id!: bigint;
  @Column('varchar') name!: string;
}

export const ENTITIES = [Author, Book, Tag, Counter, Sample, Place];

/** Names of the tags whose insertion was told. */
export const seen: string[] = [];

@EventSubscriber()
export class TagListener implements EntitySubscriberInterface<Tag> {
  listenTo(): typeof Tag {
    return Tag;
  }

  async afterInsert({ entity, manager }: InsertEvent<Tag>): Promise<void> {
    seen.push(entity.name);
    await manager.insert(Counter, { name: entity.name, value: 1 });
  }
}

export class CreateTables1700000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE note(id integer PRIMARY KEY AUTOINCREMENT, text varchar NOT NULL)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE note');
  }
}

/** Would leave two rows where two nodes ran it. */
export class AddNote1700000000002 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`INSERT INTO note(text) VALUES('first')`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DELETE FROM note');
  }
}

export const MIGRATIONS = [CreateTables1700000000001, AddNote1700000000002];
