import type { Connection, Statement } from './connection.js';

/** How rows are returned, as better-sqlite3 names it. */
export interface RowShape {
  readonly pluck: boolean;
  readonly raw: boolean;
  readonly safeIntegers: boolean;
}

/**
 * Prepared statements of one connection, the least recently used dropped first. SQLite compiles a statement anew by
 * itself when the schema has changed (sqlite3_prepare_v3), so nothing has to be dropped for that.
 */
export class StatementCache {
  private readonly statements = new Map<string, Statement>();

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

  /** The statement for a text with rows in a given form. */
  shaped(sql: string, shape: RowShape): Statement {
    if (!shape.pluck && !shape.raw && !shape.safeIntegers) return this.get(sql);
    const key = `${Number(shape.pluck)}${Number(shape.raw)}${Number(shape.safeIntegers)}:${sql}`;
    return this.statements.get(key) ?? this.add(key, shapeStatement(this.connection.prepare(sql), shape));
  }

  clear(): void {
    this.statements.clear();
  }

  private add(key: string, statement: Statement): Statement {
    if (this.statements.size >= this.limit) {
      const [oldest] = this.statements.keys();
      if (oldest !== undefined) this.statements.delete(oldest);
    }
    this.statements.set(key, statement);
    return statement;
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
