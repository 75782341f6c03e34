import { classify } from '../../sql/classify.js';

/** What a statement sets `PRAGMA foreign_keys` to, as it is written; undefined where it does not. */
export function foreignKeysOf(sql: string): string | undefined {
  // Statements are many, and those that set it few.
  if (!/foreign_keys/i.test(sql.slice(0, 100))) return undefined;
  const { pragma } = classify(sql);
  return pragma?.name === 'foreign_keys' ? pragma.argument : undefined;
}
