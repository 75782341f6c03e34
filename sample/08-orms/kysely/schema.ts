import type { Generated } from 'kysely';

export interface Schema {
  kysely_author: { id: Generated<number>; name: string };
  kysely_book: { id: Generated<number>; author_id: number; title: string; copies: number };
}
