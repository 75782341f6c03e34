import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HARemoteDatabase } from '../../../lib/grpc/client/remote-database.js';
import type { HARemoteOptions } from '../../../lib/grpc/client/remote-database.js';
import { HARemoteModule, getHARemoteToken } from '../../../lib/grpc/client/remote.module.js';
import { isSqliteError } from '../../../lib/common/sqlite-error.js';
import type { HAExecutor } from '../../../lib/write/executor.js';
import { failureOf, onCleanup, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';

function remoteOf(app: GrpcApp, options: Partial<HARemoteOptions> = {}): HARemoteDatabase {
  return remoteAt(`http://${app.target()}`, options);
}

function remoteAt(url: string, options: Partial<HARemoteOptions> = {}): HARemoteDatabase {
  const remote = new HARemoteDatabase({ url, timeout: 10_000, ...options });
  onCleanup(() => remote.close());
  return remote;
}

async function started(options: object = {}): Promise<{ app: GrpcApp; remote: HARemoteDatabase }> {
  const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'my.db', ...options });
  await app.db().exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  return { app, remote: remoteOf(app) };
}

describe('a remote database', () => {
  it('answers every call as a local one', async () => {
    const { app, remote } = await started();
    const calls: ((db: HAExecutor) => Promise<unknown>)[] = [
      (db) => db.run('INSERT INTO t VALUES(?, ?), (2, 2.5)', [1n, 'a']),
      (db) => db.run('INSERT INTO t VALUES(:id, @v)', { id: 3n, v: Buffer.from([1]), unused: 5 }),
      (db) => db.run('UPDATE t SET v = NULL WHERE id = 2'),
      (db) => db.run('DELETE FROM t WHERE id = 99'),
      (db) => db.get('SELECT * FROM t WHERE id = ?1', { 1: 1n }),
      (db) => db.get('SELECT * FROM t WHERE id = 99'),
      (db) => db.all('SELECT id, v, typeof(v) AS type FROM t ORDER BY id'),
      (db) => db.all('SELECT 1 AS a, 2 AS a'),
      (db) => db.get('SELECT ? AS number, ? AS big, ? AS nothing', [1.5, 2n ** 40n, undefined]),
      (db) => db.exec('INSERT INTO t VALUES(10, 1); INSERT INTO t VALUES(11, 2)'),
      (db) => db.get(`INSERT INTO t VALUES(12, 'r') RETURNING id, v`),
      (db) => db.prepare('SELECT v FROM t WHERE id > ? ORDER BY id').pluck().all(2n),
      (db) => db.prepare('SELECT id, v FROM t ORDER BY id').raw().safeIntegers().all(),
      (db) =>
        db
          .prepare('INSERT INTO t VALUES(?, 1)')
          .safeIntegers()
          .run(2n ** 60n),
      (db) => db.prepare('SELECT id FROM t WHERE id > 100').safeIntegers().get(),
      async (db) => {
        const rows: unknown[] = [];
        for await (const row of db.iterate('SELECT id FROM t ORDER BY id')) rows.push(row);
        return rows;
      },
      (db) => db.run('SELEC 1'),
      (db) => db.run('INSERT INTO t VALUES(1, 1)'),
      (db) => db.exec('INSERT INTO t VALUES(50, 1); INSERT INTO t VALUES(1, 1)'),
      (db) => db.all('SELECT id FROM t WHERE id = 50'),
      (db) => db.run('BEGIN'),
      (db) => db.run('SELECT ?', [true]),
      (db) => db.run('SELECT ?', []),
      (db) => db.run('SELECT ?', [1, 2]),
      (db) => db.run('SELECT :a', {}),
      (db) => db.run(`ATTACH 'x' AS y`),
    ];
    const local = (await started()).app.db();
    for (const call of calls) {
      const [ours, theirs] = await Promise.all([outcome(call(remote)), outcome(call(local))]);
      expect({ call: String(call), ...ours }).toEqual({ call: String(call), ...theirs });
    }
    expect(await app.db().all('SELECT count(*) AS n FROM t')).toEqual(await local.all('SELECT count(*) AS n FROM t'));
  });

  it('tells SQLite’s errors as better-sqlite3 does', async () => {
    const { remote } = await started();
    const error = await failureOf(remote.run('INSERT INTO t VALUES(1, 1), (1, 2)'));
    expect(isSqliteError(error)).toBe(true);
    expect(error).toMatchObject({ name: 'SqliteError', code: 'SQLITE_CONSTRAINT_PRIMARYKEY' });
  });

  it('commits, rolls back, and goes back to savepoints', async () => {
    const { app, remote } = await started();
    const count = await remote.transaction(async (tx) => {
      expect(tx.attempt).toBe(1);
      await tx.run('INSERT INTO t VALUES(1, 1)');
      await failureOf(
        tx.savepoint(async (inner) => {
          await inner.run('INSERT INTO t VALUES(2, 2)');
          throw new Error('back');
        }),
      );
      await tx.savepoint((inner) => inner.run('INSERT INTO t VALUES(3, 3)'));
      return tx.prepare('SELECT count(*) FROM t').pluck().get();
    });
    expect(count).toBe(2);
    const reason = new Error('mine');
    let kept: HAExecutor | undefined;
    const failed = remote.transaction(async (tx) => {
      kept = tx;
      await Promise.all([tx.run('INSERT INTO t VALUES(4, 4)'), tx.run('INSERT INTO t VALUES(5, 5)')]);
      throw reason;
    });
    expect(await failureOf(failed)).toBe(reason);
    expect((await failureOf(kept?.run('SELECT 1') ?? Promise.resolve())).code).toBe('HA_TRANSACTION_CLOSED');
    expect(await app.db().all('SELECT id FROM t')).toEqual([{ id: 1 }, { id: 3 }]);
  });

  it('takes some rows of many inside a transaction, and goes on in it', async () => {
    const { app, remote } = await started();
    await remote.transaction(async (tx) => {
      const many = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) SELECT i FROM n';
      expect(await tx.get(many)).toEqual({ i: 1 });
      for await (const row of tx.iterate(many)) {
        expect(row).toEqual({ i: 1 });
        break;
      }
      await tx.run('INSERT INTO t VALUES(1, 1)');
    });
    expect(await app.db().all('SELECT id FROM t')).toEqual([{ id: 1 }]);
  });

  it('refuses a call on the database inside its own transaction', async () => {
    const { remote } = await started();
    const error = await failureOf(remote.transaction(() => remote.run('INSERT INTO t VALUES(1, 1)')));
    expect(error.code).toBe('HA_NESTED_TRANSACTION');
    expect(await remote.all('SELECT * FROM t')).toEqual([]);
  });

  it('rolls back a callback that takes too long', async () => {
    const { remote } = await started();
    const slow = remote.transaction(
      async (tx) => {
        await tx.run('INSERT INTO t VALUES(1, 1)');
        await new Promise((resolve) => setTimeout(resolve, 5_000).unref());
      },
      { timeout: 1_000 },
    );
    expect((await failureOf(slow)).code).toBe('HA_TRANSACTION_TIMEOUT');
    await remote.run('INSERT INTO t VALUES(2, 2)');
    expect(await remote.all('SELECT id FROM t')).toEqual([{ id: 2 }]);
  });

  it('runs a transaction again where others came first', async () => {
    const dir = temporaryFolder();
    const { url, stream } = await startCluster({ nodes: 0 });
    const shared = { replicationURL: url, replicationStream: stream, replicationID: 'x' };
    const first = await GrpcApp.start({ dsn: `${dir}/a.db`, name: 'a', ...shared });
    const second = await GrpcApp.start({ dsn: `${dir}/b.db`, name: 'b', ...shared });
    await first.db().exec('CREATE TABLE c(id INTEGER PRIMARY KEY, n)');
    const { txseq } = await first.db().run('INSERT INTO c VALUES(1, 0)');
    await second.db().waitFor(txseq ?? 0n);
    const remotes = [remoteOf(first), remoteOf(second)];
    let attempts = 0;
    const increment = (remote: HARemoteDatabase): Promise<void> =>
      remote.transaction(
        async (tx) => {
          attempts++;
          const { n } = (await tx.get<{ n: number }>('SELECT n FROM c')) ?? { n: 0 };
          await tx.run('UPDATE c SET n = ?', [BigInt(n + 1)]);
        },
        { serializable: true },
      );
    await Promise.all(remotes.flatMap((remote) => Array.from({ length: 15 }, () => increment(remote))));
    await until(async () => (await first.db().get<{ n: number }>('SELECT n FROM c'))?.n === 30);
    await until(async () => (await second.db().get<{ n: number }>('SELECT n FROM c'))?.n === 30);
    expect(attempts).toBeGreaterThanOrEqual(30);
    const result = await remotes[0]?.run('INSERT INTO c VALUES(2, 2)');
    expect(result?.txseq).toBe(first.db().position().published);
  }, 120_000);

  it('streams many rows with little memory', async () => {
    const { remote } = await started();
    const many =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i, zeroblob(3000) AS b FROM n';
    const before = process.memoryUsage().rss;
    let rows = 0;
    let most = 0;
    for await (const row of remote.iterate<{ i: number }>(many)) {
      if (row.i !== ++rows) throw new Error(`row ${row.i} came as ${rows}`);
      if (rows % 10_000 === 0) most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(rows).toBe(100_000);
    expect(most).toBeLessThan(150 * 1024 * 1024);
  });

  it('serves many callers at once, more than it has sessions', async () => {
    const { app, remote } = await started();
    await Promise.all(Array.from({ length: 300 }, (_, id) => remote.run('INSERT INTO t VALUES(?, 1)', [BigInt(id)])));
    expect(await remote.get('SELECT count(*) AS n FROM t')).toEqual({ n: 300 });
    expect(app.server().sessions).toBeLessThanOrEqual(64);
  });

  it('copies the database, tells the databases, and how far the server is', async () => {
    const { remote } = await started();
    const chunks: Buffer[] = [];
    for await (const chunk of remote.download()) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString('latin1', 0, 15)).toBe('SQLite format 3');
    expect(await remote.databases()).toEqual(['my.db']);
    expect(await remote.ping()).toBeGreaterThan(0);
  });
});

describe('where the server is not as it should be', () => {
  it('says that it is not there', async () => {
    const remote = remoteAt('http://127.0.0.1:1', { timeout: 1_500 });
    for (const call of [() => remote.run('DELETE FROM t'), () => remote.all('SELECT 1'), () => remote.ping()]) {
      expect(await failureOf(call)).toMatchObject({ code: 'HA_UNAVAILABLE', retryable: true });
    }
  });

  it('says that the token is wrong, or the database unknown', async () => {
    const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'x', grpcToken: 'secret' });
    expect((await failureOf(remoteOf(app).all('SELECT 1'))).code).toBe('HA_UNAUTHENTICATED');
    expect((await failureOf(remoteOf(app, { token: 'other' }).databases())).code).toBe('HA_UNAUTHENTICATED');
    expect(await remoteOf(app, { token: 'secret' }).all('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    const unknown = remoteOf(app, { token: 'secret', replicationID: 'y' });
    expect(await failureOf(unknown.all('SELECT 1'))).toMatchObject({
      code: 'HA_UNKNOWN_DATABASE',
      details: { known: ['x'] },
    });
  });

  it('speaks TLS where the URL says so, and shows its certificate', async () => {
    const at = (name: string): string => `test/data/tls/${name}`;
    const grpcTls = { cert: at('server.pem'), key: at('server.key'), ca: at('ca.pem') };
    const app = await GrpcApp.start({ dsn: ':memory:', grpcTls });
    const url = `https://localhost:${app.server().port}`;
    const known = { ca: at('ca.pem'), cert: at('client.pem'), key: at('client.key') };
    expect(await remoteAt(url, { tls: known }).get('SELECT 1 AS one')).toEqual({ one: 1 });
    for (const tls of [{ ca: at('ca.pem') }, {}]) {
      expect((await failureOf(remoteAt(url, { tls, timeout: 1_500 }).ping())).code).toBe('HA_UNAVAILABLE');
    }
    expect((await failureOf(remoteOf(app, { timeout: 1_500 }).ping())).code).toBe('HA_UNAVAILABLE');
    expect(() => remoteAt(url, { tls: { ca: '/none.pem' } })).toThrow(/'\/none.pem' cannot be read/);
  });

  it('goes on when the server is back', async () => {
    const dir = temporaryFolder();
    const first = await GrpcApp.start({ dsn: `${dir}/x.db` });
    const { port } = first.server();
    const remote = remoteOf(first);
    await remote.exec('CREATE TABLE t(v)');
    await first.context.close();
    const waiting = remote.run('INSERT INTO t VALUES(1)');
    await GrpcApp.start({ dsn: `${dir}/x.db`, grpcPort: port });
    await waiting;
    expect(await remote.all('SELECT * FROM t')).toEqual([{ v: 1 }]);
  });

  it('says that nobody knows where a write got no answer, and that nothing was written where it surely was not', async () => {
    const { app } = await started({ transactionTimeout: 60_000 });
    const holder = app.db().connect();
    onCleanup(() => holder.close());
    await holder.execute('BEGIN');
    const remote = remoteOf(app, { timeout: 1_500 });
    expect(await failureOf(remote.run('INSERT INTO t VALUES(1, 1)'))).toMatchObject({
      code: 'HA_REMOTE_UNKNOWN',
      retryable: false,
    });
    const connection = await remote.connect();
    expect((await failureOf(connection.run('INSERT INTO t VALUES(1, 1)'))).code).toBe('HA_REMOTE_UNKNOWN');
    await connection.close();
    const never = remote.transaction((tx) => tx.run('INSERT INTO t VALUES(2, 2)'));
    expect(await failureOf(never)).toMatchObject({ code: 'HA_REMOTE_TIMEOUT', retryable: true });
    await holder.execute('ROLLBACK');
    // Both came through in the end; the second met the first.
    await until(async () => (await app.db().all('SELECT id FROM t')).length === 1);
    expect(await remote.all('SELECT id FROM t')).toEqual([{ id: 1 }]);
  });

  it('refuses to be used when it is closed, and URLs that are none', async () => {
    const { remote } = await started();
    await remote.all('SELECT 1');
    await remote.close();
    expect((await failureOf(remote.all('SELECT 1'))).code).toBe('HA_DATABASE_CLOSED');
    for (const url of ['', 'ftp://x:1', 'http://x:1/path', 'http://user:pass@x:1', 'http://']) {
      expect(() => new HARemoteDatabase({ url })).toThrow(/is no address of a gRPC server/);
    }
  });
});

it('is injected by its class and name, and closed with the application', async () => {
  const { app } = await started();
  const url = app.target();
  @Module({
    imports: [HARemoteModule.forRoot({ url }), HARemoteModule.forRoot({ url: `grpc://${url}`, connection: 'other' })],
  })
  class AppModule {}
  const context = await NestFactory.createApplicationContext(AppModule, { logger: false });
  const remote = context.get(HARemoteDatabase);
  expect(await remote.get('SELECT 1 AS one')).toEqual({ one: 1 });
  const other = context.get<HARemoteDatabase>(getHARemoteToken('other'));
  expect(other).not.toBe(remote);
  expect(await other.get('SELECT 2 AS two')).toEqual({ two: 2 });
  await context.close();
  expect((await failureOf(other.all('SELECT 1'))).code).toBe('HA_DATABASE_CLOSED');
  await until(() => app.server().sessions === 0);
});

/** A value, or how it failed. */
async function outcome(call: Promise<unknown>): Promise<object> {
  try {
    return { value: await call };
  } catch (error) {
    const { name, code, message } = error as Error & { code?: string };
    return { name, code, message };
  }
}
