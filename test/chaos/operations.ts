import type { HADatabase, HATransaction } from '../../lib/index.js';
import type { Operation, OperationKind } from './messages.js';
import { ACCOUNTS, HOT_ROWS, SLOTS } from './schema.js';

interface Result {
  readonly changes?: number;
  readonly txseq?: bigint;
}

/** A write, and what it tells. */
export type Work = (db: HADatabase, operation: Operation) => Promise<Result | void>;

const LARGE_ROW = 200_000;

/** What each kind of write does, as an application would. */
export const OPERATIONS: Readonly<Record<OperationKind, Work>> = {
  insert: (db, { marker, a }) =>
    db.run('INSERT INTO explicit VALUES (?, ?, ?, ?)', [marker, marker, a / 7, Buffer.from(String(a))]),
  generate: (db, { marker }) => db.run('INSERT INTO generated(marker) VALUES (?)', [marker]),
  count: (db, { marker }) => db.run('INSERT INTO counted(marker) VALUES (?)', [marker]),
  bag: (db, { marker, a }) => db.run('INSERT INTO bag VALUES (?, ?)', [marker, a % 5]),
  crowd: (db, { marker, a, b }) =>
    db.transaction(async (tx) => {
      await tx.run('INSERT INTO crowd_log VALUES (?)', [marker]);
      if (b % 3 === 0)
        await tx.run('DELETE FROM crowd WHERE rowid = (SELECT min(rowid) FROM crowd WHERE v = ?)', [a % 5]);
      else await tx.run('INSERT INTO crowd VALUES (?)', [b % 2 === 0 ? a % 5 : String(a % 5)]);
    }),
  hot: (db, { marker, a }) => db.run('UPDATE hot SET marker = ?, n = n + 1 WHERE id = ?', [marker, 1 + (a % HOT_ROWS)]),
  delete: (db, { target }) => db.run('DELETE FROM explicit WHERE id = ?', [target]),
  script: (db, { marker, a }) =>
    db.exec(`
      INSERT INTO bag VALUES ('${marker}', ${a});
      UPDATE hot SET marker = '${marker}' WHERE id IN (${1 + (a % HOT_ROWS)}, ${1 + ((a + 7) % HOT_ROWS)});`),
  multi: (db, { marker, a, b }) =>
    db.transaction(async (tx) => {
      const update = tx.prepare('UPDATE hot SET marker = ?, n = n + ? WHERE id = ?');
      for (let i = 0; i <= b % 5; i++) await update.run(marker, i, 1 + ((a + i * 13) % HOT_ROWS));
      await tx.run('INSERT INTO bag VALUES (?, ?)', [marker, null]);
      await tx.savepoint((inner) => inner.run('INSERT INTO bag VALUES (?, ?)', [marker, 'inner']));
    }),
  replace: (db, { marker, a, b }) =>
    db.run('INSERT OR REPLACE INTO slot VALUES (?, ?, ?)', [1 + (a % SLOTS), `name ${b % SLOTS}`, marker]),
  transfer: (db, operation) => db.transaction((tx) => transfer(tx, operation), { serializable: true }),
  increment: (db, { marker }) =>
    db.transaction(
      async (tx) => {
        const { n } = (await tx.get<{ n: number }>('SELECT n FROM counter')) as { n: number };
        await tx.run('UPDATE counter SET n = ?, marker = ?', [n + 1, marker]);
      },
      { serializable: true },
    ),
  ddl: (db, { marker, a }) => db.exec(definition(marker, a)),
  large: (db, { marker, a }) =>
    db.transaction(async (tx) => {
      const insert = tx.prepare('INSERT INTO large VALUES (?, ?, ?, ?)');
      for (let part = 0; part < 8; part++) await insert.run(marker, part, marker, String(a % 10).repeat(LARGE_ROW));
      await tx.run('DELETE FROM large WHERE id <> ?', [marker]);
    }),
  refused: (db, { marker, target }) => db.run('INSERT INTO explicit(id, marker) VALUES (?, ?)', [target, marker]),
  thrown: (db, { marker }) =>
    db.transaction(async (tx) => {
      await tx.run('INSERT INTO bag VALUES (?, 0)', [marker]);
      throw Object.assign(new Error('thrown on purpose'), { code: 'THROWN' });
    }),
};

async function transfer(tx: HATransaction, { marker, a, b }: Operation): Promise<void> {
  const source = 1 + (a % ACCOUNTS);
  const target = 1 + ((source + (b % (ACCOUNTS - 1))) % ACCOUNTS);
  const [from, to] = await Promise.all([source, target].map((id) => balanceOf(tx, id)));
  const amount = Math.min(from as number, b % 50);
  await tx.run('UPDATE account SET balance = ? WHERE id = ?', [(from as number) - amount, source]);
  await tx.run('UPDATE account SET balance = ? WHERE id = ?', [(to as number) + amount, target]);
  await tx.run('INSERT INTO transfer VALUES (?, ?, ?, ?)', [marker, source, target, amount]);
}

async function balanceOf(tx: HATransaction, id: number): Promise<number> {
  const row = await tx.get<{ balance: number }>('SELECT balance FROM account WHERE id = ?', [id]);
  if (row === undefined) throw new Error(`There is no account ${id}.`);
  return row.balance;
}

function definition(marker: string, a: number): string {
  if (a % 3 === 0) return `CREATE INDEX i_${marker} ON explicit(v, id)`;
  if (a % 3 === 1)
    return `ALTER TABLE wide ADD COLUMN c_${marker} DEFAULT ${a}; INSERT INTO wide(marker) VALUES ('${marker}')`;
  return `CREATE TABLE t_${marker}(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t_${marker} VALUES (1, 'x')`;
}
