import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import type { Client } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import BetterSqlite3 from 'better-sqlite3';
import { service as healthService } from 'grpc-health-check';
import { failureOf, onCleanup, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';
import { ProtoClient, valuesOf } from '../../helper/grpc-client.js';

const UNAUTHENTICATED = 16;
const TLS = 'test/data/tls';
const pem = (name: string): Buffer => readFileSync(join(TLS, name));

describe('a token', () => {
  it.each([
    [undefined, UNAUTHENTICATED],
    ['other', UNAUTHENTICATED],
    ['Bearer other', UNAUTHENTICATED],
    ['secret', undefined],
    ['Bearer secret', undefined],
  ])('%j ends calls with status %s', async (token, code) => {
    const dir = temporaryFolder();
    const app = await GrpcApp.start({ dsn: join(dir, 'a.db'), grpcToken: 'secret' });
    const client = app.client(token === undefined ? {} : { token });
    const session = client.session();
    const calls = [
      () => client.unary('ReplicationIDs'),
      () => client.unary('DataSourceNames'),
      () => client.bytes('Download', ''),
      () => session.exec('SELECT 1'),
    ];
    for (const call of calls) {
      const ended = await call().then(
        () => undefined,
        (error: { code: number }) => error.code,
      );
      expect(ended).toBe(code);
    }
    expect(app.server().sessions).toBe(code === undefined ? 1 : 0);
    await session.end().catch(() => undefined);
  });
});

describe('TLS', () => {
  const server = { grpcTls: { cert: join(TLS, 'server.pem'), key: join(TLS, 'server.key') } };

  it('is spoken where the server has a certificate, and nothing else', async () => {
    const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'x', ...server });
    const secure = app.client({ credentials: credentials.createSsl(pem('ca.pem')) });
    expect(await secure.unary('ReplicationIDs')).toEqual({ replication_id: ['x'] });
    expect((await failureOf(app.client().unary('ReplicationIDs'))).code).toBe(14);
  });

  it('asks for a certificate of the caller where an authority is given', async () => {
    const app = await GrpcApp.start({
      dsn: ':memory:',
      replicationID: 'x',
      grpcTls: { ...server.grpcTls, ca: join(TLS, 'ca.pem') },
    });
    const known = credentials.createSsl(pem('ca.pem'), pem('client.key'), pem('client.pem'));
    expect(await app.client({ credentials: known }).unary('ReplicationIDs')).toEqual({ replication_id: ['x'] });
    const unknown = app.client({ credentials: credentials.createSsl(pem('ca.pem')) });
    expect((await failureOf(unknown.unary('ReplicationIDs'))).code).toBe(14);
  });
});

describe('a download', () => {
  it('is a consistent copy, taken while others write, and leaves no file behind', async () => {
    const dir = temporaryFolder();
    const app = await GrpcApp.start({ dsn: join(dir, 'my.db'), replicationID: 'my.db' });
    const db = app.db();
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE sum(n); INSERT INTO sum VALUES(0)');
    await db.run(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
      INSERT INTO t SELECT i, hex(randomblob(200)) FROM n`);
    let writing = true;
    const writer = (async () => {
      for (let id = 10_000; writing; id++) {
        await db.exec(`INSERT INTO t VALUES(${id}, 'x'); UPDATE sum SET n = n + 1`);
      }
    })();
    const chunks = await app.client().bytes('Download', 'my.db');
    writing = false;
    await writer;
    expect(chunks.length).toBeGreaterThan(10);
    expect(Math.max(...chunks.map(({ length }) => length))).toBe(64 * 1024);
    writeFileSync(join(dir, 'copy'), Buffer.concat(chunks));
    const copy = new BetterSqlite3(join(dir, 'copy'), { readonly: true });
    expect(copy.pragma('integrity_check', { simple: true })).toBe('ok');
    const { more, sum } = copy
      .prepare('SELECT (SELECT count(*) FROM t WHERE id >= 10000) AS more, n AS sum FROM sum')
      .get() as {
      more: number;
      sum: number;
    };
    expect(more).toBe(sum);
    copy.close();
    expect(readdirSync(dir).filter((name) => name.startsWith('.ha-download'))).toEqual([]);
  });

  it('that is given up leaves no file behind', async () => {
    const dir = temporaryFolder();
    const app = await GrpcApp.start({ dsn: join(dir, 'my.db') });
    await app.db().exec('CREATE TABLE t(v); INSERT INTO t VALUES(zeroblob(20000000))');
    const stream = app.client().open('Download', '');
    stream.on('error', () => undefined);
    await new Promise((resolve) => stream.once('data', resolve));
    stream.pause();
    expect(readdirSync(dir).filter((name) => name.startsWith('.ha-download'))).toHaveLength(1);
    stream.cancel();
    await until(() => readdirSync(dir).every((name) => !name.startsWith('.ha-download')));
  });

  it('of a database in memory works too; of an unknown one, and of a snapshot, it says what is wrong', async () => {
    const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'x' });
    await app.db().exec('CREATE TABLE t(v)');
    const client = app.client();
    expect(Buffer.concat(await client.bytes('Download', 'x')).toString('latin1', 0, 15)).toBe('SQLite format 3');
    expect(readdirSync(dirname(app.db().reader.name)).filter((name) => name.startsWith('.ha'))).toEqual([]);
    expect(await failureOf(client.bytes('Download', 'nope'))).toMatchObject({
      code: 5,
      details: expect.stringMatching(/'nope'.*x\./) as string,
    });
    expect((await failureOf(client.bytes('LatestSnapshot', 'nope'))).code).toBe(5);
    expect((await failureOf(client.bytes('LatestSnapshot', 'x'))).code).toBe(12);
  });
});

it('streams the latest stored snapshot, as any other node stores it', async () => {
  const { url, stream } = await startCluster({ nodes: 0 });
  const shared = { replicationURL: url, replicationStream: stream, replicationID: 'x' };
  const app = await GrpcApp.start({ dsn: join(temporaryFolder(), 'my.db'), ...shared });
  const client = app.client();
  expect(await failureOf(client.bytes('LatestSnapshot', 'x'))).toMatchObject({
    code: 5,
    details: expect.stringContaining('No snapshot') as string,
  });
  await app.db().exec(`CREATE TABLE t(v); INSERT INTO t VALUES('stored')`);
  const { sequence } = await app.db().snapshot();
  await app.db().run(`INSERT INTO t VALUES('later')`);
  const path = join(temporaryFolder(), 'latest.db');
  writeFileSync(path, Buffer.concat(await client.bytes('LatestSnapshot', 'x')));
  const copy = new BetterSqlite3(path, { readonly: true });
  expect(copy.prepare('SELECT v FROM t').pluck().all()).toEqual(['stored']);
  const position = copy.prepare('SELECT received_seq FROM ha_stats WHERE subject = ?').pluck().get(`${stream}.x`);
  expect(position).toBe(Number(sequence));
  copy.close();
});

it('has a health service and reflection, for which nobody needs a token', async () => {
  const app = await GrpcApp.start({ dsn: ':memory:', grpcToken: 'secret' });
  const check = healthOf(app.target());
  expect(await check('')).toEqual({ status: 'SERVING' });
  expect(await check('sql.v1.DatabaseService')).toEqual({ status: 'SERVING' });
  const path = 'node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto';
  const loaded = loadPackageDefinition(loadSync(path)) as unknown as {
    grpc: { reflection: { v1: { ServerReflection: new (...args: unknown[]) => Client } } };
  };
  const reflection = new loaded.grpc.reflection.v1.ServerReflection(
    app.target(),
    credentials.createInsecure(),
  ) as Client & Record<string, (...args: unknown[]) => void>;
  onCleanup(() => reflection.close());
  const stream = reflection['ServerReflectionInfo']?.() as unknown as NodeJS.ReadWriteStream & {
    write(message: object): void;
  };
  stream.write({ listServices: '' });
  const answer = await new Promise((resolve) => stream.once('data', resolve));
  stream.end();
  expect(JSON.stringify(answer)).toContain('sql.v1.DatabaseService');
});

describe('the end of an application', () => {
  it('tells callers, rolls back what they left open, and does not wait for them', async () => {
    const dir = temporaryFolder();
    const app = await GrpcApp.start({ dsn: join(dir, 'my.db'), transactionTimeout: 60_000 });
    await app.db().exec('CREATE TABLE t(v)');
    const session = app.client().session();
    await session.exec('BEGIN');
    await session.exec('INSERT INTO t VALUES(1)');
    const idle = app.client().session();
    await idle.exec('SELECT 1');
    await app.context.close();
    expect((await failureOf(session.next())).code).toBe(14);
    expect((await failureOf(idle.next())).code).toBe(14);
    const file = new BetterSqlite3(join(dir, 'my.db'), { readonly: true });
    expect(file.prepare('SELECT count(*) FROM t').pluck().get()).toBe(0);
    file.close();
  });

  it('answers what it works on, begins nothing more, and says that it does not serve', async () => {
    const dir = temporaryFolder();
    const app = await GrpcApp.start({ dsn: join(dir, 'my.db'), transactionTimeout: 60_000 });
    await app.db().exec('CREATE TABLE t(v)');
    const holder = app.db().connect();
    await holder.execute('BEGIN');
    const sessions = [1, 2, 3].map(() => app.client().session());
    for (const session of sessions) {
      session.send('INSERT INTO t VALUES(1)');
      session.send('INSERT INTO t VALUES(2)');
    }
    const health = healthOf(app.target());
    await health('');
    await until(() => app.db().status().waitingWrites >= 3);
    const closed = app.context.close();
    for (const name of ['', 'sql.v1.DatabaseService']) {
      await until(async () => ((await health(name)) as { status: string }).status === 'NOT_SERVING');
    }
    await holder.execute('COMMIT');
    for (const session of sessions) {
      expect(await session.next()).toMatchObject({ error: '', rows_affected: '1' });
      expect((await failureOf(session.next())).code).toBe(14);
    }
    await closed;
    const file = new BetterSqlite3(join(dir, 'my.db'), { readonly: true });
    expect(file.prepare('SELECT v FROM t').pluck().all()).toEqual([1, 1, 1]);
    file.close();
  });

  it('frees the port, so that another can begin there', async () => {
    const first = await GrpcApp.start({ dsn: ':memory:' });
    const { port } = first.server();
    await first.context.close();
    const second = await GrpcApp.start({ dsn: ':memory:', grpcPort: port });
    expect(valuesOf(await second.client().session().query('SELECT 1'))).toEqual([['1']]);
  });
});

it('serves a database that is stopped with an error, and again when it runs', async () => {
  const app = await GrpcApp.start({ dsn: ':memory:' });
  const session = new ProtoClient(app.target()).session();
  await app.db().stop();
  expect((await session.exec('SELECT 1')).error).toMatch(/^HA_UNAVAILABLE: /);
  await app.db().start();
  expect((await session.exec('SELECT 1')).error).toBe('');
  await session.end();
});

/** Asks the health service. */
function healthOf(target: string): (name: string) => Promise<unknown> {
  const Health = loadPackageDefinition({ 'h.Health': healthService })['h'] as unknown as {
    Health: new (...args: unknown[]) => Client;
  };
  const health = new Health.Health(target, credentials.createInsecure()) as Client &
    Record<string, (...args: unknown[]) => void>;
  onCleanup(() => health.close());
  return (name: string): Promise<unknown> =>
    new Promise((resolve, reject) =>
      health['check']?.({ service: name }, (error: Error | null, answer: unknown) =>
        error === null ? resolve(answer) : reject(error),
      ),
    );
}
