import { HARemoteDatabase } from '../../../lib/grpc/client/remote-database.js';
import { failureOf, onCleanup, until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';

/** More rows than fit into the parts that are under way. */
const ROWS = 40_000;
const MANY = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS}) SELECT i, hex(zeroblob(20)) AS b FROM n`;

async function started(): Promise<{ app: GrpcApp; remote: HARemoteDatabase }> {
  const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'my.db', transactionTimeout: 60_000 });
  await app.db().exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const remote = new HARemoteDatabase({ url: `http://${app.target()}`, timeout: 10_000 });
  onCleanup(() => remote.close());
  return { app, remote };
}

describe('rows of a remote transaction that are taken one by one', () => {
  it('let other calls through meanwhile, and all of them arrive', async () => {
    const { app, remote } = await started();
    const seen = await remote.transaction(async (tx) => {
      let count = 0;
      for await (const { i } of tx.iterate<{ i: number }>(MANY)) {
        if (i !== ++count) throw new Error(`row ${i} came as ${count}`);
        if (count % 10_000 === 1) await tx.run('INSERT INTO t VALUES(?, 1)', [BigInt(i)]);
      }
      return count;
    });
    expect(seen).toBe(ROWS);
    expect(await app.db().all('SELECT id FROM t')).toEqual([{ id: 1 }, { id: 10_001 }, { id: 20_001 }, { id: 30_001 }]);
  });

  it('may be those of several statements at once', async () => {
    const { remote } = await started();
    await remote.transaction(async (tx) => {
      const first = tx.iterate<{ i: number }>(MANY);
      const second = tx.iterate<{ i: number }>(MANY);
      for (let i = 1; i <= 10_000; i++) {
        const rows = await Promise.all([first.next(), second.next()]);
        expect(rows.map(({ value }) => value.i)).toEqual([i, i]);
      }
      expect(await tx.get('SELECT 5 AS five')).toEqual({ five: 5 });
    });
  });

  it('need not be taken to the end', async () => {
    const { app, remote } = await started();
    let rows: AsyncIterableIterator<unknown> | undefined;
    let late: Promise<{ code?: string }> | undefined;
    await remote.transaction(
      async (tx) => {
        rows = tx.iterate(MANY);
        await rows.next();
        await tx.run('INSERT INTO t VALUES(1, 1)');
        late = failureOf(tx.iterate(MANY).next());
      },
      { timeout: 30_000 },
    );
    expect(await app.db().all('SELECT id FROM t')).toEqual([{ id: 1 }]);
    await failureOf(async () => {
      for (;;) if ((await rows?.next())?.done === true) throw new Error('ended');
    }).then(({ code }) => expect(code).toBe('HA_TRANSACTION_CLOSED'));
    expect(await late).toMatchObject({ code: 'HA_TRANSACTION_CLOSED' });
    const failed = remote.transaction(async (tx) => {
      await tx.iterate(MANY).next();
      throw new Error('mine');
    });
    expect((await failureOf(failed)).message).toBe('mine');
    expect(await remote.get('SELECT 5 AS five')).toEqual({ five: 5 });
    expect(app.server().sessions).toBe(1);
  });

  it('end with what the server fails with', async () => {
    const { remote } = await started();
    const failing = `SELECT CASE WHEN i > 30000 THEN abs(-9223372036854775808) ELSE i END AS i, b FROM (${MANY})`;
    const error = await failureOf(
      remote.transaction(async (tx) => {
        for await (const _row of tx.iterate(failing)) await tx.get('SELECT 1');
      }),
    );
    expect(error.message).toBe('integer overflow');
  });
});

describe('calls that nobody waits for', () => {
  it('get no answer of others when their transaction fails', async () => {
    const { app, remote } = await started();
    for (let round = 0; round < 10; round++) {
      const others: Promise<unknown>[] = [];
      const failed = remote.transaction(async (tx) => {
        const wrong = tx.run('INSERT INTO missing VALUES(1)');
        for (let i = 0; i < 5; i++) others.push(tx.get(`SELECT ${i} AS n`));
        await wrong;
      });
      expect((await failureOf(failed)).message).toBe('no such table: missing');
      (await Promise.allSettled(others)).forEach((other, n) => {
        if (other.status === 'fulfilled') expect(other.value).toEqual({ n });
        else expect((other.reason as { code: string }).code).toBe('HA_TRANSACTION_CLOSED');
      });
      expect(await remote.get('SELECT 42 AS answer')).toEqual({ answer: 42 });
      await remote.run('INSERT INTO t(v) VALUES(1)');
    }
    expect(await app.db().get('SELECT count(*) AS n FROM t')).toEqual({ n: 10 });
  });
});

describe('a connection', () => {
  it('answers calls at the same time each with its own answer', async () => {
    const { app, remote } = await started();
    const connection = await remote.connect();
    const answers = await Promise.all([
      connection.get('SELECT 1 AS n'),
      connection.run('INSERT INTO t VALUES(50, 1)'),
      connection.all('SELECT 2 AS n'),
      (async () => {
        let rows = 0;
        for await (const _row of connection.iterate(MANY)) rows++;
        return rows;
      })(),
      connection.get('SELECT 3 AS n'),
    ]);
    expect(answers).toEqual([{ n: 1 }, { changes: 1, lastInsertRowid: 50 }, [{ n: 2 }], ROWS, { n: 3 }]);
    expect(await connection.get('SELECT 4 AS n')).toEqual({ n: 4 });
    await connection.close();
    await connection.close();
    expect((await failureOf(connection.get('SELECT 1'))).code).toBe('HA_TRANSACTION_CLOSED');
    await until(() => app.server().sessions === 0);
  });
});
