import BetterSqlite3 from 'better-sqlite3';
import { foldCase } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';

/** A table or view of a database. */
export interface SchemaObject {
  readonly kind: 'table' | 'view' | 'virtual' | 'shadow';
  readonly name: string;
  readonly sql: string;
}

/** What a database says about itself: what the plan of a statement depends on. */
export interface DatabaseSchema {
  readonly version: number;
  readonly encoding: string;
  /** By folded name. */
  readonly objects: ReadonlyMap<string, SchemaObject>;
  /** Folded names of functions that the application registers, which threads of their own lack. */
  readonly functions: ReadonlySet<string>;
  /** Folded names of the temporary tables and views of its readers. */
  readonly temporary: ReadonlySet<string>;
}

const known = new WeakMap<Connection, DatabaseSchema>();

/** The schema of a database, read again where it has changed. */
export function databaseSchema(db: Connection): DatabaseSchema {
  const version = db.pragma('schema_version', { simple: true }) as number;
  const before = known.get(db);
  if (before?.version === version) return before;
  const schema = readSchema(db, version);
  known.set(db, schema);
  return schema;
}

function readSchema(db: Connection, version: number): DatabaseSchema {
  const rows = db
    .prepare(
      `SELECT l.type AS kind, l.name AS name, s.sql AS sql FROM pragma_table_list AS l
       JOIN main.sqlite_schema AS s ON s.name = l.name AND s.type IN ('table', 'view') WHERE l.schema = 'main'`,
    )
    .all() as SchemaObject[];
  return {
    version,
    encoding: db.pragma('encoding', { simple: true }) as string,
    objects: new Map(rows.map((row) => [foldCase(row.name), row])),
    functions: registeredFunctions(db),
    temporary: new Set(
      (db.prepare(`SELECT name FROM temp.sqlite_schema WHERE type IN ('table', 'view')`).pluck().all() as string[]).map(
        foldCase,
      ),
    ),
  };
}

const FUNCTIONS = 'SELECT DISTINCT lower(name) FROM pragma_function_list WHERE NOT builtin';

/** Functions of one connection alone; those that better-sqlite3 brings for all have the same names everywhere. */
function registeredFunctions(db: Connection): ReadonlySet<string> {
  const common = baseline().connectionFunctions;
  const names = db.prepare(FUNCTIONS).pluck().all() as string[];
  return new Set(names.filter((name) => !common.has(name)));
}

interface Baseline {
  readonly connectionFunctions: ReadonlySet<string>;
  readonly aggregates: ReadonlySet<string>;
}

let read: Baseline | undefined;

/** What every connection of this SQLite has. */
export function baseline(): Baseline {
  if (read !== undefined) return read;
  const db = new BetterSqlite3(':memory:');
  try {
    const aggregates = db
      .prepare(`SELECT DISTINCT lower(name) FROM pragma_function_list WHERE type IN ('a', 'w')`)
      .pluck()
      .all() as string[];
    return (read = {
      connectionFunctions: new Set(db.prepare(FUNCTIONS).pluck().all() as string[]),
      aggregates: new Set(aggregates),
    });
  } finally {
    db.close();
  }
}
