import { failureOf, startCluster, until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';
import { pack, unpackRows, valuesOf } from '../../helper/grpc-client.js';
import type { ProtoSession } from '../../helper/grpc-client.js';

async function appWithTable(options: object = {}): Promise<GrpcApp> {
  const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'my.db', ...options });
  await app.db().exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  return app;
}

const count = async (app: GrpcApp): Promise<unknown> => app.db().prepare('SELECT count(*) FROM t').pluck().get();

/** A writer that gets its turn shows that nobody holds it. */
async function expectFreeWriter(app: GrpcApp): Promise<void> {
  await app.db().run('INSERT INTO t(v) VALUES(?)', ['free']);
  await app.db().run(`DELETE FROM t WHERE v = 'free'`);
}

describe('a session of a client made of the .proto file alone', () => {
  it('writes, reads and ends', async () => {
    const app = await appWithTable();
    const session = app.client().session();
    expect(await session.ask('', [], 'QUERY_TYPE_PING')).toMatchObject({ result_set: null, error: '', txseq: '0' });
    const value = pack('StringValue', { value: 'a' });
    expect(await session.exec('INSERT INTO t VALUES(1, ?)', [value])).toMatchObject({
      result_set: null,
      rows_affected: '1',
      last_insert_id: '1',
      error: '',
      error_code: '',
    });
    expect(unpackRows(await session.query('SELECT * FROM t'))).toEqual([
      [
        ['Int64Value', '1'],
        ['StringValue', 'a'],
      ],
    ]);
    await session.end();
    await until(() => app.server().sessions === 0);
  });

  it('steers its transaction, which others do not see', async () => {
    const app = await appWithTable();
    const session = app.client().session();
    for (const sql of [
      'BEGIN',
      'INSERT INTO t VALUES(1, 1)',
      'SAVEPOINT s',
      'INSERT INTO t VALUES(2, 2)',
      'ROLLBACK TO s',
    ]) {
      expect(await session.exec(sql)).toMatchObject({ error: '' });
    }
    expect(valuesOf(await session.query('SELECT id FROM t'))).toEqual([['1']]);
    expect(await count(app)).toBe(0);
    expect(await session.exec('COMMIT')).toMatchObject({ error: '' });
    expect(await count(app)).toBe(1);
  });

  it.each(['ends', 'is broken off'])('rolls back where its stream %s', async (how) => {
    const app = await appWithTable();
    const session = app.client().session();
    await session.exec('BEGIN');
    await session.exec('INSERT INTO t VALUES(1, 1)');
    if (how === 'ends') await session.end();
    else session.cancel();
    await until(() => app.server().sessions === 0);
    await expectFreeWriter(app);
    expect(await count(app)).toBe(0);
  });

  it('is rolled back where nothing comes, and says so', async () => {
    const app = await appWithTable({ transactionTimeout: 1_000 });
    const session = app.client().session();
    await session.exec('BEGIN');
    await session.exec('INSERT INTO t VALUES(1, 1)');
    await expectFreeWriter(app);
    expect((await session.exec('INSERT INTO t VALUES(2, 2)')).error).toMatch(/^HA_TRANSACTION_TIMEOUT: /);
    expect((await session.exec('COMMIT')).error).toMatch(/^HA_TRANSACTION_CLOSED: /);
    expect(await session.exec('INSERT INTO t VALUES(3, 3)')).toMatchObject({ error: '', rows_affected: '1' });
    expect(await count(app)).toBe(1);
  });

  it('answers every mistake, and goes on', async () => {
    const app = await appWithTable();
    const session = app.client().session();
    const one = pack('Int64Value', { value: '1' });
    const mistakes: [() => Promise<{ error: string }>, RegExp][] = [
      [() => session.exec('INSRT'), /syntax error \(SQLITE_ERROR\)/],
      [() => session.exec('SELECT * FROM missing'), /no such table: missing/],
      [
        () => session.exec('INSERT INTO t VALUES(?, 1)', [{ ordinal: 2, value: one }]),
        /^HA_PARAMETER_INVALID: .*number 1/,
      ],
      [() => session.exec('INSERT INTO t VALUES(1, 1)', [one]), /^HA_PARAMETER_INVALID: .*no parameter number 1/],
      [() => session.exec('INSERT INTO t VALUES(?, 1)'), /^HA_PARAMETER_INVALID: Too few parameter values/],
      [() => session.exec('SELECT ?', [{ ordinal: 1 }]), /^HA_PARAMETER_INVALID: .*has no value/],
      [() => session.exec('SELECT ?', [pack('Duration', { seconds: 1 })]), /google\.protobuf\.Duration/],
      [() => session.exec('SELECT ?', [{ ...one, value: Buffer.from([0xff]) }]), /^HA_PARAMETER_INVALID: .*too early/],
      [() => session.ask('SELECT 1', [], 'QUERY_TYPE_UNSPECIFIED', 'nope'), /^HA_UNKNOWN_DATABASE: .*'nope'.*my\.db/],
      [() => session.exec('SELECT 1; SELECT 2', [one]), /HA_PARAMETER_INVALID|more than one statement/],
      [() => session.ask('SELECT 1; SELECT 2'), /more than one statement/],
      [() => session.exec('COMMIT'), /^HA_TRANSACTION_CONTROL: .*nothing to commit/],
      [() => session.exec("ATTACH 'x' AS y"), /^HA_STATEMENT_REFUSED: /],
      [() => session.exec('SELECT \0'), /^HA_INVALID_SQL: /],
      [() => session.exec('undo 5 minutes'), /^HA_HISTORY_INVALID: .*'minutes' was not expected/],
      [() => session.exec('UNDO 1; DROP TABLE t'), /^HA_HISTORY_INVALID: /],
      [() => session.ask('HISTORY'), /keeps no history: it has no stream/],
      [() => session.exec('UNDO 1', [one]), /^HA_PARAMETER_INVALID: .*no parameters/],
    ];
    for (const [call, message] of mistakes) expect((await call()).error).toMatch(message);
    expect(valuesOf(await session.query('SELECT 42'))).toEqual([['42']]);
    expect(await count(app)).toBe(0);
    expect(app.server().sessions).toBe(1);
  });

  it('takes a huge statement, and a huge value', async () => {
    const app = await appWithTable();
    const session = app.client().session();
    const rows = Array.from({ length: 20_000 }, (_, id) => `(${id}, '${'x'.repeat(80)}')`).join();
    expect(await session.exec(`INSERT INTO t VALUES${rows}`)).toMatchObject({ error: '', rows_affected: '20000' });
    const large = Buffer.alloc(20_000_000, 5);
    expect(await session.exec('INSERT INTO t VALUES(-1, ?)', [pack('BytesValue', { value: large })])).toMatchObject({
      error: '',
    });
    const [[value] = []] = valuesOf(await session.query('SELECT v FROM t WHERE id = -1'));
    expect(large.equals(value as Buffer)).toBe(true);
  });

  it('gets codes of errors, and rows in parts, where it says that it knows them', async () => {
    const app = await appWithTable();
    const session = app.client({ version: true }).session();
    expect(await session.exec('INSRT')).toMatchObject({
      error: 'near "INSRT": syntax error',
      error_code: 'SQLITE_ERROR',
      error_retryable: false,
    });
    expect(await session.ask('x', [], undefined, 'nope')).toMatchObject({ error_code: 'HA_UNKNOWN_DATABASE' });
    session.send(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n`);
    let rows = 0;
    let parts = 0;
    for (let more = true; more; parts++) {
      const answer = await session.next();
      expect(answer.result_set?.columns).toEqual(['i']);
      rows += answer.result_set?.rows.length ?? 0;
      more = answer.more;
    }
    expect(rows).toBe(20_000);
    expect(parts).toBeGreaterThan(3);
    expect(valuesOf(await session.query('SELECT 1'))).toEqual([['1']]);
  });

  it('reads no faster than its caller, and lets go of the rows when that leaves', async () => {
    const app = await appWithTable();
    const stopped = app.client({ version: true }).session();
    stopped.stream.pause();
    stopped.send(
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000000) SELECT i, zeroblob(1000) FROM n',
    );
    const before = process.memoryUsage().rss;
    const other = app.client().session();
    for (let i = 0; i < 200; i++) expect(valuesOf(await other.query('SELECT 1'))).toEqual([['1']]);
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
    stopped.cancel();
    await until(() => app.server().sessions === 1);
  });

  it('is told that a result is too large for one message, and goes on', async () => {
    const app = await appWithTable();
    const session = app.client().session();
    const answer = await session.query(
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT zeroblob(1000000) FROM n',
    );
    expect(answer).toMatchObject({
      result_set: null,
      error: expect.stringMatching(/^HA_RESULT_TOO_LARGE: /) as string,
    });
    expect(valuesOf(await session.query('SELECT 1'))).toEqual([['1']]);
  });

  it('is told that reading took too long, and goes on', async () => {
    const app = await appWithTable({ grpcTimeout: 1_000 });
    const session = app.client().session();
    const endless = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n';
    expect((await session.exec(endless)).error).toMatch(/^HA_REMOTE_TIMEOUT: /);
    expect((await session.query(`SELECT * FROM (${endless})`)).error).toMatch(/^HA_REMOTE_TIMEOUT: /);
    expect(valuesOf(await session.query('SELECT 1'))).toEqual([['1']]);
  });

  it('reads on a read replica, and is refused writes and BEGIN there', async () => {
    const { url, stream } = await startCluster({ nodes: 0 });
    const shared = { replicationURL: url, replicationStream: stream, replicationID: 'x' };
    const writer = await GrpcApp.start({ dsn: ':memory:', name: 'writer', ...shared });
    const replica = await GrpcApp.start({ dsn: ':memory:', name: 'replica', disablePublisher: true, ...shared });
    await writer.db().exec('CREATE TABLE t(v)');
    const written = await writer.client().session().exec('INSERT INTO t VALUES(7)');
    expect(BigInt(written.txseq)).toBe(writer.db().position().published);
    await replica.db().waitFor(BigInt(written.txseq));
    const session = replica.client().session();
    expect(valuesOf(await session.query('SELECT v FROM t'))).toEqual([['7']]);
    expect((await session.exec('BEGIN')).error).toMatch(/^HA_READ_ONLY: /);
    expect((await session.exec('DELETE FROM t')).error).toMatch(/^HA_READ_ONLY: /);
    expect((await session.exec('COMMIT')).error).toMatch(/^HA_TRANSACTION_CONTROL: /);
  });

  it('leaves nothing behind where a thousand of them are dropped, in whatever state', async () => {
    const app = await appWithTable({ transactionTimeout: 60_000 });
    const client = app.client({ version: true });
    const states: ((session: ProtoSession) => Promise<unknown>)[] = [
      (session) => session.exec('SELECT 1'),
      async (session) => session.send('BEGIN'),
      async (session) => session.send('INSERT INTO t(v) VALUES(1)'),
      async (session) => session.send('SELECT * FROM t, t, t, t'),
      async () => undefined,
    ];
    for (let round = 0; round < 20; round++) {
      const sessions = Array.from({ length: 50 }, () => client.session());
      sessions.forEach((session) => session.stream.on('error', () => undefined));
      await Promise.all(sessions.map(async (session, index) => states[index % states.length]?.(session)));
      sessions.forEach((session, index) =>
        index % 2 === 0 || index % 5 === 3 ? session.cancel() : session.stream.end(),
      );
      sessions.forEach((session) => session.stream.resume());
      await until(() => app.server().sessions === 0);
    }
    await expectFreeWriter(app);
    expect(app.db().status().waitingWrites).toBe(0);
  });
});

describe('databases of one application', () => {
  it('share a port, and are chosen by their name', async () => {
    const app = await GrpcApp.start(
      { dsn: ':memory:', replicationID: 'a', connection: 'a', grpcToken: 't' },
      { dsn: ':memory:', replicationID: 'b', connection: 'b', grpcToken: 't' },
    );
    expect(app.target('a')).toBe(app.target('b'));
    const client = app.client({ token: 't' }, 'a');
    expect(await client.unary('ReplicationIDs')).toEqual({ replication_id: ['a', 'b'] });
    expect(await client.unary('DataSourceNames')).toEqual({ dsn: [':memory:', ':memory:'] });
    const session = client.session();
    expect((await session.exec('SELECT 1')).error).toMatch(/^HA_UNKNOWN_DATABASE: .*names no database.*a, b/);
    await session.ask('CREATE TABLE only_in_a(x)', [], undefined, 'a');
    expect((await session.ask('SELECT * FROM only_in_a', [], undefined, 'b')).error).toMatch(/no such table/);
    await session.ask('BEGIN', [], undefined, 'a');
    expect((await session.ask('SELECT 1', [], undefined, 'b')).error).toMatch(/^HA_TRANSACTION_CONTROL: .*open on 'a'/);
    expect((await session.ask('INSERT INTO only_in_a VALUES(1)')).error).toBe('');
    expect((await session.ask('COMMIT')).error).toBe('');
    await app.db('a').close();
    expect(await client.unary('ReplicationIDs')).toEqual({ replication_id: ['b'] });
    expect((await session.ask('SELECT 1', [], undefined, 'a')).error).toMatch(/^HA_UNKNOWN_DATABASE/);
    expect((await session.ask('SELECT 1')).error).toBe('');
    await app.db('b').close();
    expect((await failureOf(client.unary('ReplicationIDs'))).code).toBe(14);
  });

  it.each([
    [{ replicationID: 'x' }, { replicationID: 'x' }, /cannot be told apart/],
    [{ replicationID: 'x' }, { replicationID: 'y', grpcToken: 't' }, /share a gRPC port, but not grpcToken/],
    [{ replicationID: 'x', grpcTlsCert: '/none', grpcTlsKey: '/none' }, undefined, /'\/none'.*cannot be read/],
  ])('%j and %j on one port are refused', async (first, second, message) => {
    const databases = [first, ...(second === undefined ? [] : [second])];
    const error = await failureOf(
      GrpcApp.start(...databases.map((options, index) => ({ dsn: ':memory:', connection: `c${index}`, ...options }))),
    );
    expect(error).toMatchObject({ code: 'HA_GRPC_SERVER' });
    expect(error.message).toMatch(message);
  });

  it('do not start on a port that is taken, and say what to do', async () => {
    const app = await appWithTable();
    const error = await failureOf(GrpcApp.start({ dsn: ':memory:', grpcPort: app.server().port }));
    expect(error).toMatchObject({ code: 'HA_GRPC_SERVER' });
    expect(error.message).toMatch(/cannot listen on 127\.0\.0\.1:\d+.*another grpcPort/);
  });
});
