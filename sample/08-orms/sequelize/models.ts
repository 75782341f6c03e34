import { DataTypes } from 'sequelize';
import type { CreationOptional, InferAttributes, InferCreationAttributes, NonAttribute } from 'sequelize';
import { Column, ForeignKey, HasMany, Index, Model, Table } from 'sequelize-typescript';

@Table({ tableName: 'sequelize_author', timestamps: false })
export class AuthorModel extends Model<InferAttributes<AuthorModel>, InferCreationAttributes<AuthorModel>> {
  declare id: CreationOptional<number>;

  @Column(DataTypes.STRING)
  declare name: string;

  @HasMany(() => BookModel)
  declare books: NonAttribute<BookModel[]>;
}

@Table({ tableName: 'sequelize_book', timestamps: false })
export class BookModel extends Model<InferAttributes<BookModel>, InferCreationAttributes<BookModel>> {
  declare id: CreationOptional<number>;

  @Column(DataTypes.STRING)
  declare title: string;

  @Column(DataTypes.INTEGER)
  declare copies: number;

  @ForeignKey(() => AuthorModel)
  @Index('sequelize_book_author')
  @Column(DataTypes.INTEGER)
  declare authorId: CreationOptional<number>;
}
