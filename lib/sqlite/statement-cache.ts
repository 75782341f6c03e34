import type { Connection, Statement } from './connection.js';

/** How rows are returned, as better-sqlite3 names it. */
export interface RowShape {
  readonly pluck: boolean;
  readonly raw: boolean;
  readonly safeIntegers: boolean;
}

/** Longer texts are not kept: they come once, and would fill the memory. */
export const LONGEST_KEPT = 16 * 1024;
/** Characters of all texts together that are kept. */
export const MOST_TEXT = 4 * 1024 * 1024;

/** How many texts are remembered that came once. */
const MOST_SEEN = 500;

/**
 * Prepared statements of one connection, the oldest dropped first. A caller's is kept from the second time on that its text
 * comes, and not if the text is longer than {@link LONGEST_KEPT}: query builders that write values into their statements would
 * push out those that come again. SQLite compiles a statement anew by
 * itself when the schema has changed (sqlite3_prepare_v3), so nothing has to be dropped for that.
 */
export class StatementCache {
  private readonly statements = new Map<string, Statement>();
  private text = 0;
  /** Texts of callers that came once. */
  private readonly seen = new Set<string>();

  constructor(
    private readonly connection: Connection,
    private readonly limit = 500,
  ) {}

  /** The statement for a text, with rows as objects and integers as better-sqlite3 gives them by default. */
  get(sql: string): Statement {
    return this.statements.get(sql) ?? this.add(sql, this.connection.prepare(sql));
  }

  /** The statement for our own use: rows as arrays, integers as bigint. */
  exact(sql: string): Statement {
    const key = `exact:${sql}`;
    return this.statements.get(key) ?? this.add(key, exactStatement(this.connection.prepare(sql)));
  }

  /** The statement of a caller, with rows in a given form. */
  shaped(sql: string, shape: RowShape): Statement {
    if (sql.length > LONGEST_KEPT) return shapeStatement(this.connection.prepare(sql), shape);
    const isPlain = !shape.pluck && !shape.raw && !shape.safeIntegers;
    const key = isPlain ? sql : `${Number(shape.pluck)}${Number(shape.raw)}${Number(shape.safeIntegers)}:${sql}`;
    const known = this.statements.get(key);
    if (known !== undefined) return known;
    const statement = shapeStatement(this.connection.prepare(sql), shape);
    return this.comesAgain(key) ? this.add(key, statement) : statement;
  }

  /**
   * A PRAGMA of a caller, by the schema as it is now. Some answer by the schema that the connection has read when they are
   * compiled, and do not look whether another connection has changed it, as other statements do: foreign_key_list,
   * foreign_key_check, index_list and index_info for instance.
   */
  pragma(sql: string, shape: RowShape): Statement {
    this.get('SELECT 1 FROM sqlite_schema LIMIT 1').all();
    return shapeStatement(this.connection.prepare(sql), shape);
  }

  clear(): void {
    this.statements.clear();
    this.seen.clear();
    this.text = 0;
  }

  private comesAgain(key: string): boolean {
    if (this.seen.delete(key)) return true;
    if (this.seen.size >= MOST_SEEN) this.seen.clear();
    this.seen.add(key);
    return false;
  }

  private add(key: string, statement: Statement): Statement {
    while (this.statements.size > 0 && (this.statements.size >= this.limit || this.text + key.length > MOST_TEXT)) {
      this.dropOldest();
    }
    this.statements.set(key, statement);
    this.text += key.length;
    return statement;
  }

  private dropOldest(): void {
    const [oldest = ''] = this.statements.keys();
    this.statements.delete(oldest);
    this.text -= oldest.length;
  }
}

function exactStatement(statement: Statement): Statement {
  statement.safeIntegers(true);
  return statement.reader ? statement.raw(true) : statement;
}

function shapeStatement(statement: Statement, shape: RowShape): Statement {
  if (shape.safeIntegers) statement.safeIntegers(true);
  if (!statement.reader) return statement;
  if (shape.pluck) return statement.pluck(true);
  return shape.raw ? statement.raw(true) : statement;
}
