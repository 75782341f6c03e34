import objection from 'objection';
import type { RelationMappings } from 'objection';

// Objection is CommonJS that Node finds no names in.
const { Model } = objection;

export class BookModel extends Model {
  static override readonly tableName = 'objection_book';
  declare id: number;
  declare authorId: number;
  declare title: string;
  declare copies: number;
}

export class AuthorModel extends Model {
  static override readonly tableName = 'objection_author';
  declare id: number;
  declare name: string;
  declare books: BookModel[];

  static override get relationMappings(): RelationMappings {
    return {
      books: {
        relation: Model.HasManyRelation,
        modelClass: BookModel,
        join: { from: 'objection_author.id', to: 'objection_book.authorId' },
      },
    };
  }
}
