import { haSqlite3 } from '../../../lib/orm/sqlite3.js';
import type { Database, Statement } from '../../../lib/orm/sqlite3.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

async function made(): Promise<{ cluster: Cluster; database: Database }> {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(a, b)');
  const { Database } = haSqlite3(cluster.a);
  const database = new Database('.');
  onCleanup(() => new Promise((resolve) => database.close(() => resolve())));
  return { cluster, database };
}

/** Waits for what was called; a failure is the event `error` of its statement, for no callback is given. */
async function ended(database: Database, statement: Statement, call: () => unknown): Promise<unknown> {
  const errors: unknown[] = [];
  statement.on('error', (error) => errors.push(error));
  call();
  await new Promise<void>((resolve) => void database.wait(() => setImmediate(resolve)));
  return errors;
}

/** https://github.com/TryGhost/node-sqlite3/blob/master/src/statement.cc: undefined is counted, and not bound. */
describe('an undefined value, in the shape of node-sqlite3,', () => {
  it('is NULL where a parameter is left for it', async () => {
    const { cluster, database } = await made();
    const statement = database.prepare('INSERT INTO t VALUES (?, ?)');
    const calls = [
      () => statement.run('last', undefined),
      () => statement.run(undefined, 'first'),
      () => statement.run(undefined, undefined),
      () => statement.run(['in an array', undefined]),
      () => statement.run(['behind an array', 1], undefined),
      () => statement.run('one too many', 2, undefined),
    ];
    for (const call of calls) expect(await ended(database, statement, call)).toEqual([]);
    expect(await cluster.a.all('SELECT a, b FROM t ORDER BY rowid')).toEqual([
      { a: 'last', b: null },
      { a: null, b: 'first' },
      { a: null, b: null },
      { a: 'in an array', b: null },
      { a: 'behind an array', b: 1 },
      { a: 'one too many', b: 2 },
    ]);
    await cluster.expectEqual();
  });

  it('does no harm where there is no parameter, as a callback that was not given', async () => {
    const { cluster, database } = await made();
    const statement = database.prepare("INSERT INTO t VALUES ('x', 'y')", undefined);
    expect(await ended(database, statement, () => statement.run(undefined))).toEqual([]);
    const rows = await new Promise((resolve, reject) => {
      database.all('SELECT a FROM t', undefined, (error: Error | null, found: unknown) =>
        error === null ? resolve(found) : reject(error),
      );
    });
    expect(rows).toEqual([{ a: 'x' }]);
    await cluster.expectEqual();
  });

  it('leaves what was bound where it is a callback of reset() or finalize()', async () => {
    const { cluster, database } = await made();
    const statement = database.prepare('INSERT INTO t(a) VALUES (?)', 'bound');
    const call = (): void => {
      statement.reset(undefined).run();
      statement.finalize(undefined);
    };
    expect(await ended(database, statement, call)).toEqual([]);
    expect(await cluster.a.all('SELECT a FROM t')).toEqual([{ a: 'bound' }]);
  });
});
