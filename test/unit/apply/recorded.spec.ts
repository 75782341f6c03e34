import { readFileSync } from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { Applier } from '../../../lib/apply/applier.js';
import { decodeChangeSet } from '../../../lib/changeset/codec.js';
import { createControlTables } from '../../../lib/sqlite/control-tables.js';
import type { RowIdentify } from '../../../lib/sqlite/schema.js';

type Argument = string | number | null | { readonly $b: string };
type Run = string | { readonly sql: string; readonly args: readonly Argument[] } | { readonly tx: readonly string[] };

interface Recorded {
  readonly case: string;
  readonly schema: readonly string[];
  readonly seedBoth?: readonly string[];
  readonly statements: readonly Run[];
  readonly rowIdentify: RowIdentify;
  readonly messages: readonly { readonly seq: number; readonly data: string }[];
}

const recorded = JSON.parse(readFileSync('test/data/golden/changesets.json', 'utf8')) as Recorded[];
/** Recorded with more than one row identity: the messages are the same, it only says how they are applied. */
const cases = recorded.filter(({ case: name }) =>
  recorded.some((other) => other.case === name && other.rowIdentify !== 'pk'),
);
const runs = cases.flatMap((one) =>
  (['pk', 'rowid', 'full'] as const).map((mode) => [one.case, one.rowIdentify, mode, one] as const),
);

/** What go-ha's own database held behind a statement. */
function run(db: Database, statement: Run): void {
  if (typeof statement === 'string') db.exec(statement);
  else if ('tx' in statement) db.exec(['BEGIN', ...statement.tx, 'COMMIT'].join(';'));
  else {
    const args = statement.args.map((arg) =>
      arg !== null && typeof arg === 'object' ? Buffer.from(arg.$b, 'hex') : arg,
    );
    db.prepare(statement.sql).run(...args);
  }
}

function rowsOf(db: Database): unknown[] {
  const columns = db.prepare(`SELECT name FROM pragma_table_info('m')`).pluck().all() as string[];
  const values = columns.flatMap((name) => [name, `typeof(${name})`]).join(', ');
  return db.prepare(`SELECT rowid, ${values} FROM m ORDER BY rowid`).raw().all();
}

it('there are recordings of every row identity', () => {
  expect(new Set(cases.map(({ rowIdentify }) => rowIdentify))).toEqual(new Set(['pk', 'rowid', 'full']));
  expect(cases.length).toBeGreaterThanOrEqual(11);
});

it.each(runs)(
  "go-ha's messages of '%s', recorded with %s, apply with rowIdentify=%s",
  (_name, _recorded, mode, one) => {
    const source = new BetterSqlite3(':memory:');
    const target = new BetterSqlite3(':memory:');
    createControlTables(target);
    const applier = new Applier(target, mode);
    const reasons: string[] = [];
    source.exec(one.schema.join(';'));
    const [first, ...others] = one.messages;
    const deliver = ({ seq, data }: { seq: number; data: string }): void => {
      target.exec('BEGIN');
      applier.prepare();
      const steps = applier.apply(decodeChangeSet(data), { sequence: seq, foreign: true }, (_i, _c, reason) =>
        reasons.push(reason),
      );
      while (steps.next().done !== true);
      target.exec('COMMIT');
    };
    if (first === undefined) throw new Error('There is no message.');
    deliver(first);
    for (const db of [source, target]) db.exec((one.seedBoth ?? []).join(';'));
    expect(others.length).toBe(one.statements.length);
    one.statements.forEach((statement, index) => {
      run(source, statement);
      deliver(others[index] as { seq: number; data: string });
      expect({ statement, rows: rowsOf(target) }).toEqual({ statement, rows: rowsOf(source) });
    });
    expect(reasons).toEqual([]);
  },
);
