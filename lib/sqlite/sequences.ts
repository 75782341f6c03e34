import type { StatementCache } from './statement-cache.js';

/**
 * Raises the AUTOINCREMENT counter of a table to at least `floor`: https://www.sqlite.org/autoinc.html
 *
 * A counter of 0 is one too: SQLite makes it for a statement that could have inserted a row, and did not.
 */
export function raiseSequence(statements: StatementCache, table: string, floor: bigint): void {
  if (floor < 0n) return;
  const row = statements.exact('SELECT seq FROM main.sqlite_sequence WHERE name = ?').get(table) as
    [bigint | null] | undefined;
  if (row === undefined || row[0] === null || row[0] < floor) setSequence(statements, table, floor);
}

/** Writes the AUTOINCREMENT counter of a table; NULL removes it. */
export function setSequence(statements: StatementCache, table: string, value: bigint | null): void {
  statements.get('DELETE FROM main.sqlite_sequence WHERE name = ?').run(table);
  if (value !== null) statements.get('INSERT INTO main.sqlite_sequence(name, seq) VALUES(?, ?)').run(table, value);
}
