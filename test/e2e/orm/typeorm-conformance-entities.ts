import {
  BeforeInsert,
  Check,
  ChildEntity,
  Column,
  DeleteDateColumn,
  Entity,
  Index,
  JoinColumn,
  JoinTable,
  ManyToMany,
  ManyToOne,
  OneToMany,
  OneToOne,
  PrimaryColumn,
  PrimaryGeneratedColumn,
  TableInheritance,
  Tree,
  TreeChildren,
  TreeParent,
  Unique,
  VersionColumn,
  ViewColumn,
  ViewEntity,
} from 'typeorm';
import type { Relation } from 'typeorm';

export class Name {
  @Column('varchar') first!: string;
  @Column('varchar', { nullable: true }) last!: string | null;
}

@Entity()
export class Profile {
  @PrimaryGeneratedColumn() id!: number;
  @Column('varchar') text!: string;
}

@Entity()
@Check('"age" >= 0')
@Unique('uq_email', ['email'])
export class User {
  @PrimaryGeneratedColumn() id!: number;
  @Column(() => Name) name!: Name;
  @Column('varchar') email!: string;
  @Index() @Column('integer', { default: 0 }) age!: number;
  @Column('simple-enum', { enum: ['admin', 'guest'], default: 'guest' }) role!: 'admin' | 'guest';
  @Column('varchar', { select: false, nullable: true }) secret!: string | null;
  @OneToOne(() => Profile, { cascade: true, onDelete: 'SET NULL' }) @JoinColumn() profile!: Relation<Profile> | null;
  @OneToMany(() => Post, (post) => post.user, { cascade: true }) posts!: Relation<Post>[];
}

@Entity()
export class Post {
  @PrimaryGeneratedColumn() id!: number;
  @Column('varchar') title!: string;
  @VersionColumn() version!: number;
  @DeleteDateColumn() deletedAt!: Date | null;
  @ManyToOne(() => User, (user) => user.posts, { onDelete: 'CASCADE' }) user!: Relation<User>;
  @ManyToMany(() => Label, (label) => label.posts, { cascade: true }) @JoinTable() labels!: Relation<Label>[];

  @BeforeInsert()
  trim(): void {
    this.title = this.title.trim();
  }
}

@Entity()
export class Label {
  @PrimaryColumn('varchar') name!: string;
  @ManyToMany(() => Post, (post) => post.labels) posts!: Relation<Post>[];
}

@Entity()
export class Stock {
  @PrimaryColumn('varchar') shop!: string;
  @PrimaryColumn('varchar') item!: string;
  @Column('integer') count!: number;
  @Column({
    type: 'integer',
    generatedType: 'STORED',
    asExpression: '"count" * 2',
    insert: false,
    update: false,
    nullable: true,
  })
  twice!: number;
}

@Entity()
export class Kinds {
  @PrimaryGeneratedColumn('uuid') id!: string;
  @Column('blob', { nullable: true }) blob!: Buffer | null;
  @Column('datetime', { nullable: true }) datetime!: Date | null;
  @Column('date', { nullable: true }) date!: string | null;
  @Column('time', { nullable: true }) time!: string | null;
  @Column('boolean', { nullable: true }) boolean!: boolean | null;
  @Column('double', { nullable: true }) double!: number | null;
  @Column('decimal', { precision: 10, scale: 2, nullable: true }) decimal!: number | null;
  @Column('bigint', { nullable: true }) bigint!: number | null;
  @Column('simple-json', { nullable: true }) json!: unknown;
  @Column('simple-array', { nullable: true }) array!: string[] | null;
  @Column('text', {
    nullable: true,
    transformer: { to: (v: string) => v && `<${v}>`, from: (v: string) => v && v.slice(1, -1) },
  })
  transformed!: string | null;
}

@Entity()
@TableInheritance({ column: { type: 'varchar', name: 'type' } })
export class Content {
  @PrimaryGeneratedColumn() id!: number;
  @Column('varchar') title!: string;
}

@ChildEntity()
export class Photo extends Content {
  @Column('integer') size!: number;
}

@ChildEntity()
export class Question extends Content {
  @Column('integer') answers!: number;
}

@Entity()
@Tree('closure-table')
export class Category {
  @PrimaryGeneratedColumn() id!: number;
  @Column('varchar') name!: string;
  @TreeChildren({ cascade: true }) children!: Category[];
  @TreeParent() parent!: Category | null;
}

@Entity()
@Tree('materialized-path')
export class Folder {
  @PrimaryGeneratedColumn() id!: number;
  @Column('varchar') name!: string;
  @TreeChildren() children!: Folder[];
  @TreeParent() parent!: Folder | null;
}

@ViewEntity({ expression: 'SELECT "email", "age" FROM "user" WHERE "age" >= 18' })
export class Adult {
  @ViewColumn() email!: string;
  @ViewColumn() age!: number;
}

export const ENTITIES = [User, Profile, Post, Label, Stock, Kinds, Content, Photo, Question, Category, Folder, Adult];
