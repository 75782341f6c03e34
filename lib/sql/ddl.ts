import { isIdentifierChar } from './characters.js';
import { classify } from './classify.js';
import type { StatementInfo } from './statement-info.js';

/**
 * A CREATE or DROP that may run twice: puts IF NOT EXISTS or IF EXISTS in front of the name where it is missing and
 * keeps the text otherwise byte for byte. SQLite stores a definition from its name on, hence `sqlite_schema.sql` is
 * the same. Every other statement comes back unchanged, ALTER too: it has no such form.
 *
 * @param info what `classify(sql)` returned for the same text, to save the second look.
 */
export function idempotentDDL(sql: string, info: StatementInfo = classify(sql)): string {
  const { ddl } = info;
  if (!ddl || ddl.action === 'alter' || ddl.ifExists || ddl.ifNotExists) return sql;
  const clause = ddl.action === 'create' ? 'IF NOT EXISTS ' : 'IF EXISTS ';
  const before = sql.slice(0, ddl.nameOffset);
  // CREATE TABLE"t"(...) has nothing between the keyword and the name.
  const gap = isIdentifierChar(before.charCodeAt(before.length - 1)) ? ' ' : '';
  return before + gap + clause + sql.slice(ddl.nameOffset);
}
