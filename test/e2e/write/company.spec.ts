import { HAError } from '../../../lib/common/ha-error.js';
import { failureOf, pause, startCluster } from '../../helper/cluster.js';

/** What transactions that share a group, a connection or a callback must not do to each other. */
describe('transactions in company', () => {
  it('loses no write that ran behind a refused change of the schema', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE q(k TEXT PRIMARY KEY)');
    await cluster.settle();
    for (let round = 0; round < 10; round++) {
      await Promise.all([
        cluster.a.run(`CREATE TABLE m${round}(k TEXT PRIMARY KEY)`),
        cluster.a.run(`INSERT INTO m${round} VALUES('x')`),
        cluster.b.run(`INSERT INTO q VALUES('b${round}')`),
      ]);
      expect(await cluster.a.all(`SELECT k FROM m${round}`)).toEqual([{ k: 'x' }]);
    }
    await cluster.expectEqual();
  });

  it('sends nothing that was computed on rows that never were', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE par(id INTEGER PRIMARY KEY, n TEXT); CREATE TABLE kid(k TEXT, p INT, n TEXT)');
    await cluster.settle();
    for (let round = 0; round < 10; round++) {
      await Promise.all([
        cluster.a.run(`INSERT INTO par(n) VALUES('alice${round}')`),
        cluster.a.run(`INSERT INTO kid SELECT 'k', id, n FROM par WHERE n = 'alice${round}'`),
        cluster.b.run(`INSERT INTO par(n) VALUES('bob${round}')`),
      ]);
    }
    await cluster.settle();
    const wrong = await cluster.b.all('SELECT * FROM kid LEFT JOIN par ON par.id = kid.p WHERE par.n IS NOT kid.n');
    expect(wrong).toEqual([]);
    expect(await cluster.b.get('SELECT count(*) AS n FROM par')).toEqual({ n: 20 });
    await cluster.expectEqual();
  });

  it('writes nothing of a transaction whose savepoints overlap', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE s(k TEXT PRIMARY KEY, v)');
    const error = await failureOf(
      cluster.a.transaction(async (tx) => {
        const first = tx.savepoint(async (s) => {
          await s.run(`INSERT INTO s VALUES('s1', 1)`);
          await pause(10);
        });
        const second = tx.savepoint(async (s) => {
          await s.run(`INSERT INTO s VALUES('s2', 1)`);
          await pause(30);
        });
        await Promise.allSettled([first, second]);
      }),
    );
    expect(error.code).toBe('HA_NESTED_TRANSACTION');
    expect(await cluster.a.all('SELECT * FROM s')).toEqual([]);
    await cluster.a.run(`INSERT INTO s VALUES('after', 1)`);
    await cluster.expectEqual();
  });

  it('refuses writes to virtual tables that every node would compute differently', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE VIRTUAL TABLE f USING fts5(body)');
    for (const value of [
      'hex(randomblob(8))',
      'random()',
      `datetime('now')`,
      'CURRENT_TIMESTAMP',
      'last_insert_rowid()',
      'changes()',
    ]) {
      const error = await failureOf(cluster.a.run(`INSERT INTO f VALUES(${value})`));
      expect([value, error.code]).toEqual([value, 'HA_STATEMENT_REFUSED']);
    }
    await cluster.a.run(`INSERT INTO f VALUES(date('2026-01-02'))`);
    await cluster.a.run('INSERT INTO f VALUES(?)', ['random() in a value is a text']);
    await cluster.expectEqual();
  });

  it('leaves no TEMP object behind that would take the writes of others', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE orders(id TEXT PRIMARY KEY, v)');
    await cluster.a.exec(`CREATE TEMP TABLE orders(id TEXT, v); INSERT INTO temp.orders VALUES('t', 1)`);
    await cluster.a.transaction(async (tx) => {
      await tx.run('CREATE TEMP TABLE step(x)');
      await tx.run('INSERT INTO step VALUES(7)');
      await tx.run(`INSERT INTO orders SELECT 'from step', x FROM step`);
    });
    const { txseq } = await cluster.a.run(`INSERT INTO orders VALUES('a', 1)`);
    expect(typeof txseq).toBe('bigint');
    await cluster.settle();
    expect(await cluster.b.all('SELECT id FROM orders ORDER BY id')).toEqual([{ id: 'a' }, { id: 'from step' }]);
    await cluster.expectEqual();
  });

  it('refuses a RENAME to a name of the library, and keeps the table', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE dd(x PRIMARY KEY)');
    const error = await failureOf(cluster.a.run('ALTER TABLE dd RENAME TO ha_dd'));
    expect(error).toBeInstanceOf(HAError);
    expect(error.code).toBe('HA_STATEMENT_REFUSED');
    await cluster.a.run('INSERT INTO dd VALUES(1)');
    await cluster.expectEqual();
  });

  it('loads a dump, whose rows come before what they refer to', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`PRAGMA foreign_keys=OFF;
      BEGIN TRANSACTION;
      CREATE TABLE kid(id INTEGER PRIMARY KEY, p INT REFERENCES par(id));
      CREATE TABLE par(id INTEGER PRIMARY KEY);
      INSERT INTO kid VALUES(1, 5);
      INSERT INTO par VALUES(5);
      COMMIT;`);
    await cluster.expectEqual();
    const broken = await failureOf(
      cluster.a.exec('PRAGMA foreign_keys=OFF; BEGIN; INSERT INTO kid VALUES(2, 9); COMMIT;'),
    );
    expect(broken.code).toBe('SQLITE_CONSTRAINT_FOREIGNKEY');
    expect(await cluster.a.all('SELECT id FROM kid')).toEqual([{ id: 1 }]);
    await cluster.expectEqual();
  });

  it('stays stopped until it is started again', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(x PRIMARY KEY)');
    await cluster.a.stop();
    expect((await failureOf(cluster.a.run('INSERT INTO t VALUES(1)'))).code).toBe('HA_UNAVAILABLE');
    await cluster.a.start();
    await cluster.a.run('INSERT INTO t VALUES(2)');
    await cluster.expectEqual();
  });
});
