import { own } from '../common/own.js';
import type { Connection } from '../sqlite/connection.js';

/** A table or columns that got other names at a place in the stream. */
export interface Rename {
  readonly sequence: number;
  readonly from: string;
  readonly to: string;
  /** Old column names and what they are called now. */
  readonly columns: Readonly<Record<string, string>>;
}

interface Shape {
  readonly name: string;
  readonly columns: readonly string[];
}

/** Tables by root page, which they keep under every name. */
type Shapes = ReadonlyMap<number, Shape>;

interface Traced {
  to: string | undefined;
  readonly columns: Map<string, string>;
}

/**
 * Names that a writer used may be outdated where its transaction takes its place: somebody renamed the table meanwhile.
 * So each node records what every schema change of the stream renamed, and reads older transactions with it. Identity
 * follows the root page, statement by statement; only the net effect of a message counts, for a rebuild drops a table and
 * gives its name to another, which then is the same table.
 */
export class RenameTrace {
  private readonly traced = new Map<string, Traced>();

  constructor(private readonly db: Connection) {
    for (const { name, columns } of readShapes(db).values()) {
      this.traced.set(name, { to: name, columns: new Map(columns.map((column) => [column, column])) });
    }
  }

  /** Runs one statement that may rename something. */
  follow(run: () => void): void {
    const before = readShapes(this.db);
    run();
    const after = readShapes(this.db);
    const moved = new Map<string, { before: Shape; after: Shape }>();
    for (const [page, shape] of before) {
      const now = after.get(page);
      if (now !== undefined) moved.set(shape.name, { before: shape, after: now });
    }
    for (const entry of this.traced.values()) followTable(entry, moved);
  }

  /** What has another name now than before the message. */
  net(sequence: number): Rename[] {
    const after = new Map([...readShapes(this.db).values()].map((shape) => [shape.name, new Set(shape.columns)]));
    return [...this.traced].flatMap(([from, { to, columns }]) => {
      if (to === undefined || (to !== from && after.has(from))) return [];
      const stillThere = after.get(to);
      const changed = [...columns].filter(([old, now]) => old !== now && stillThere?.has(old) !== true);
      if (to === from && changed.length === 0) return [];
      return [{ sequence, from, to, columns: Object.fromEntries(changed) }];
    });
  }
}

/** Names as of now for names as of an earlier place in the stream. */
export function renamed(
  renames: readonly Rename[],
  epoch: number,
  table: string,
  columns: readonly string[],
): { readonly table: string; readonly columns: readonly string[] } {
  let names = { table, columns };
  for (const rename of renames) {
    if (rename.sequence <= epoch || rename.from !== names.table) continue;
    names = { table: rename.to, columns: names.columns.map((column) => own(rename.columns, column) ?? column) };
  }
  return names;
}

function followTable(entry: Traced, moved: ReadonlyMap<string, { before: Shape; after: Shape }>): void {
  const step = entry.to === undefined ? undefined : moved.get(entry.to);
  if (step === undefined) {
    entry.to = undefined;
    return;
  }
  entry.to = step.after.name;
  if (step.before.columns.length !== step.after.columns.length) return;
  for (const [old, current] of entry.columns) {
    const index = step.before.columns.indexOf(current);
    if (index >= 0) entry.columns.set(old, step.after.columns[index] ?? current);
  }
}

function readShapes(db: Connection): Shapes {
  const tables = db
    .prepare(
      `SELECT rootpage, name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0
       AND substr(name, 1, 7) <> 'sqlite_' AND substr(lower(name), 1, 3) <> 'ha_'`,
    )
    .all() as { rootpage: number; name: string }[];
  const columns = db.prepare(`SELECT name FROM pragma_table_info(?, 'main')`).pluck();
  return new Map(tables.map(({ rootpage, name }) => [rootpage, { name, columns: columns.all(name) as string[] }]));
}
