import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { headers } from 'nats';
import { connect } from 'nats';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import type { Cluster, TestNode } from '../../helper/cluster.js';

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)`;

/** What a node recorded of changes that it left out. */
function skippedAt({ db }: TestNode): Promise<unknown[]> {
  return db.all('SELECT sequence, change, node, target, operation, detail, error FROM ha_skipped ORDER BY 1, 2');
}

function skipEvents({ events }: TestNode): unknown[] {
  return events.filter(({ type }) => type === 'skipped');
}

describe('a change that fails on all nodes alike', () => {
  it.each([
    ['a new CHECK', 'ALTER TABLE t ADD COLUMN w DEFAULT 1 CHECK(v < 50)', /CHECK constraint failed/],
    ['a table that is gone', 'DROP TABLE t', /there is no table 't'/],
    [
      'a key of another type',
      'DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, v INT) STRICT',
      /cannot store TEXT/,
    ],
    ['a key that it does not name', 'DROP TABLE t; CREATE TABLE t(other PRIMARY KEY, v)', /does not name the key/],
  ])(
    'is left out by every node, the writer too, where a change of the schema overtook it: %s',
    async (_name, ddl, why) => {
      const cluster = await startCluster({ nodes: 3 });
      await cluster.a.exec(SCHEMA);
      await cluster.settle();
      let before = 0;
      await cluster.a.transaction(async (tx) => {
        await tx.run(`INSERT INTO t VALUES(2, 'late')`);
        await tx.run(`INSERT INTO bag VALUES('of the same transaction')`);
        await cluster.b.exec(ddl);
        before = await cluster.lastSequence();
      });
      await cluster.settle();
      const expected = { sequence: before + 1, change: 0, node: 'n1', target: 't', operation: 'INSERT' };
      const fold = await cluster.fold();
      for (const [index, node] of cluster.nodes.entries()) {
        const skipped = await skippedAt(node);
        expect(skipped).toEqual([
          {
            ...expected,
            error: expect.stringMatching(why) as string,
            detail: expect.stringContaining('late') as string,
          },
        ]);
        expect(skipEvents(node)).toEqual([
          {
            type: 'skipped',
            sequence: BigInt(before + 1),
            node: 'n1',
            target: 't',
            reason: expect.stringMatching(why) as string,
          },
        ]);
        expect(node.log.filter((line) => line.startsWith(`Left out a change of 't' by n1`))).toHaveLength(1);
        expect(await node.db.all('SELECT * FROM bag')).toEqual([{ v: 'of the same transaction' }]);
        expect(cluster.dump(index)).toEqual(fold);
        expect(node.db.status().state).toBe('running');
      }
      await cluster.c.run(`INSERT INTO bag VALUES('next')`);
      await cluster.settle();
      expect(cluster.dump(0)).toEqual(await cluster.fold());
    },
  );
});

/** What a program sends that refuses less than this library. */
const FORBIDDEN = [
  ['a table of replication is dropped', 'DROP TABLE ha_seen', 'ha_seen'],
  ['its rows are deleted', 'DELETE FROM main."HA_Seen"', 'HA_Seen'],
  ['its rows are deleted behind a WITH', 'WITH w AS (SELECT 1) DELETE FROM ha_seen', 'ha_seen'],
  ['it is altered', 'ALTER TABLE ha_seen ADD COLUMN x', 'ha_seen'],
  ['it gets an index', 'CREATE UNIQUE INDEX ii ON ha_seen(origin)', 'ha_seen'],
  ['it gets a trigger', 'CREATE TRIGGER zz BEFORE INSERT ON ha_seen BEGIN SELECT RAISE(IGNORE); END', 'ha_seen'],
  ['a trigger writes to it', 'CREATE TRIGGER zz AFTER INSERT ON t BEGIN DELETE FROM ha_seen; END', 'ha_seen'],
  ['a foreign key points to it', 'CREATE TABLE x(o REFERENCES ha_seen(origin))', 'ha_seen'],
  [
    'a temporary trigger writes to it',
    'CREATE TEMP TRIGGER zz AFTER INSERT ON t BEGIN DELETE FROM ha_seen; END',
    'temp',
  ],
  ['a table is hidden', 'CREATE TEMP TABLE t(id)', 'temporary'],
  ['the journal is changed', 'PRAGMA journal_mode=DELETE', 'PRAGMA journal_mode'],
  ['the schema is unlocked', 'PRAGMA writable_schema=1', 'PRAGMA writable_schema'],
] as const;

describe('a statement that a peer may not send', () => {
  it('is left out by every node alike, and what stands around it is applied', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const schema = () =>
      cluster.nodes.map(({ db }) => db.reader.prepare('SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2').all());
    const before = schema();
    for (const [index, [, command]] of FORBIDDEN.entries()) {
      const row = { operation: 'INSERT', database: 'main', table: 't', columns: ['id', 'v'] };
      const changes = [
        { ...row, new_values: [index, 'in front'] },
        { operation: 'SQL', command },
        { ...row, new_values: [1_000 + index, 'behind'] },
      ];
      await publishRaw(cluster, JSON.stringify({ node: 'peer', changes }), {});
    }
    await cluster.settle();
    const [first, second] = await Promise.all(cluster.nodes.map(skippedAt));
    expect(first).toEqual(second);
    expect(first).toEqual(
      FORBIDDEN.map(([, , name]) =>
        expect.objectContaining({ node: 'peer', change: 1, error: expect.stringContaining(name) as string }),
      ),
    );
    expect(schema()).toEqual(before);
    for (const { db } of cluster.nodes) {
      expect(await db.get('PRAGMA journal_mode')).toEqual({ journal_mode: 'wal' });
      expect(await db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 * FORBIDDEN.length });
      await db.run(`INSERT INTO bag VALUES('still writes')`);
    }
    await cluster.settle();
    expect(cluster.dump(0)).toEqual(cluster.dump(1));
    expect(cluster.nodes.map(({ db }) => db.status().state)).toEqual(['running', 'running']);
  });
});

describe('what the environment does', () => {
  it('a full disk stops applying until there is space; nothing is lost', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const node = cluster.node(1);
    const applier = node.runtime.open?.connections.applier as Database;
    const pages = applier.pragma('page_count', { simple: true }) as number;
    applier.pragma(`max_page_count = ${pages + 2}`);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'small')`);
    await cluster.settle();
    for (let id = 10; id < 20; id++) await cluster.a.run('INSERT INTO t VALUES(?, ?)', [id, 'x'.repeat(20_000)]);
    await cluster.a.run(`UPDATE t SET v = 'after' WHERE id = 1`);
    await until(() => cluster.b.status().state === 'retrying');
    await until(() => node.events.filter(({ type }) => type === 'error').length >= 2);
    expect(cluster.b.status().lastError).toMatchObject({ code: 'SQLITE_FULL' });
    expect(await cluster.b.get('SELECT v FROM t WHERE id = 1')).toEqual({ v: 'small' });
    expect(skipEvents(node)).toEqual([]);
    applier.pragma('max_page_count = 1000000');
    await cluster.expectEqual();
    expect(cluster.b.status()).toMatchObject({ state: 'running', lastError: undefined });
    expect(await cluster.b.get('SELECT count(*) AS n, min(v) AS v FROM t')).toEqual({ n: 11, v: 'after' });
  });

  it('a full disk of the writer is its own error: nothing is published', async () => {
    const cluster = await startCluster({
      configure: (db, role) => {
        if (role === 'writer') db.pragma('max_page_count = 60');
      },
    });
    await cluster.a.exec(SCHEMA);
    const before = await cluster.lastSequence();
    const big = cluster.a.run('INSERT INTO t VALUES(1, zeroblob(900000))');
    const small = cluster.a.run(`INSERT INTO t VALUES(2, 'small')`);
    expect(await failureOf(big)).toMatchObject({ name: 'SqliteError', code: 'SQLITE_FULL' });
    await small;
    expect(await cluster.lastSequence()).toBe(before + 1);
    await cluster.expectEqual();
  });

  it('a foreign connection that holds the write lock is waited for; nothing is lost', async () => {
    const cluster = await startCluster({ query: '_busy_timeout=30000' });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const other = foreignConnection(cluster.node(1));
    other.exec('BEGIN IMMEDIATE');
    for (let id = 0; id < 20; id++) await cluster.a.run('INSERT INTO t VALUES(?, ?)', [id, 'x']);
    await until(() => cluster.b.status().state === 'retrying');
    const own = cluster.b.run(`INSERT INTO bag VALUES('waits')`);
    const generated = cluster.b.run(`INSERT INTO t(v) VALUES('waits too')`);
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 0 });
    other.exec('COMMIT');
    await Promise.all([own, generated]);
    await cluster.expectEqual();
    expect(cluster.b.status()).toMatchObject({ state: 'running', lastError: undefined });
    expect(await cluster.a.get(`SELECT count(*) AS n FROM t`)).toEqual({ n: 21 });
  });

  it('a write lock that is never given back fails all writes together, and none of them is written', async () => {
    const cluster = await startCluster({ query: '_busy_timeout=2000' });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const before = await cluster.lastSequence();
    const other = foreignConnection(cluster.node(0));
    other.exec('BEGIN IMMEDIATE');
    // One after the other they would take 200 s.
    const writes = Array.from({ length: 100 }, (_value, id) =>
      failureOf(cluster.a.run('INSERT INTO t VALUES(?, 0)', [id])),
    );
    for (const error of await Promise.all(writes)) expect(error).toMatchObject({ code: 'SQLITE_BUSY' });
    expect(await cluster.lastSequence()).toBe(before);
    other.exec('COMMIT');
    await cluster.a.run(`INSERT INTO t VALUES(1, 'again')`);
    await cluster.expectEqual();
  });

  it('a disk that fails is tried again', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const node = cluster.node(1);
    const applier = node.runtime.open?.connections.applier as Database;
    const { exec } = applier;
    let failures = 0;
    applier.exec = (sql: string) => {
      if (sql !== 'COMMIT' || failures >= 3) return exec.call(applier, sql);
      failures++;
      throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR_FSYNC' });
    };
    await cluster.a.run(`INSERT INTO bag VALUES('once')`);
    await cluster.a.exec(`ALTER TABLE t RENAME COLUMN v TO w; INSERT INTO t VALUES(1, 1)`);
    await cluster.expectEqual();
    expect(failures).toBe(3);
    expect(await cluster.b.all('SELECT * FROM bag')).toEqual([{ v: 'once' }]);
  });

  it.each([
    ['function', 'CREATE TABLE u(id INTEGER PRIMARY KEY, v CHECK(mine(v)))', /no such function: mine/],
    ['function in an index', 'CREATE INDEX i ON t(mine(v))', /no such function: mine/],
    [
      'function in a statement on a virtual table',
      'INSERT INTO f(rowid, v) VALUES(9, mine(1))',
      /no such function: mine/,
    ],
  ])('a %s that only one node has halts the other, for its rows would differ', async (_name, sql, why) => {
    const cluster = await startCluster({ nodes: 0 });
    const configure = (db: Database): void =>
      void db.function('mine', { deterministic: true }, (value: unknown) => Number(value !== null));
    await cluster.add({ configure });
    await cluster.add();
    await cluster.a.exec(`${SCHEMA}; CREATE VIRTUAL TABLE f USING fts5(v)`);
    await cluster.settle();
    await cluster.a.run(sql);
    await until(() => cluster.b.status().state !== 'running');
    expect(cluster.b.status().lastError).toMatchObject({
      code: 'HA_APPLY_HALTED',
      message: expect.stringMatching(why) as string,
    });
    await cluster.a.run(`INSERT INTO bag VALUES('behind')`);
    // With the function it goes on where it stopped.
    const { path } = cluster.node(1);
    await cluster.b.close();
    cluster.nodes.pop();
    await cluster.add({ path, configure });
    await cluster.settle();
    expect(await cluster.b.all('SELECT * FROM bag')).toEqual([{ v: 'behind' }]);
    expect(skipEvents(cluster.node(1))).toEqual([]);
  });
});

function foreignConnection({ path }: TestNode): Database {
  const db = new BetterSqlite3(path, { timeout: 0 });
  onCleanup(() => void db.close());
  return db;
}

describe('a message that cannot be read', () => {
  it.each([
    ['no JSON', 'garbage', {}],
    ['nothing', '', {}],
    ['JSON of another kind', '[1, 2]', {}],
    ['an unknown operation', '{"node":"x","changes":[{"operation":"EXPLODE"}]}', {}],
    ['a row without a table', '{"node":"x","changes":[{"operation":"INSERT","columns":["v"],"new_values":[1]}]}', {}],
    ['a malformed chunk header', '{"node":"x","changes":[]}', { 'HA-Chunk': 'x.1;zero/none' }],
  ])('halts every node with HA_APPLY_HALTED, and nothing behind it is applied: %s', async (_name, text, extra) => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.a.run(`INSERT INTO bag VALUES('in front')`);
    await publishRaw(cluster, text, extra);
    const sequence = await cluster.lastSequence();
    for (const { db, events, log } of cluster.nodes) {
      await until(() => db.status().state === 'halted');
      expect(db.status().lastError).toMatchObject({ code: 'HA_APPLY_HALTED', details: { sequence } });
      expect(events.filter(({ type }) => type === 'halted')).toHaveLength(1);
      expect(log.some((line) => line.includes(`sequence ${sequence} cannot be read`))).toBe(true);
      expect(await db.all('SELECT * FROM bag')).toEqual([{ v: 'in front' }]);
      expect((await failureOf(db.run(`INSERT INTO bag VALUES('behind')`))).code).toBe('HA_APPLY_HALTED');
      expect((await failureOf(db.waitFor(BigInt(sequence)))).code).toBe('HA_APPLY_HALTED');
    }
    expect(await cluster.lastSequence()).toBe(sequence);
  });
});

async function publishRaw(cluster: Cluster, text: string, extra: Readonly<Record<string, string>>): Promise<void> {
  const connection = await connect({ servers: cluster.url });
  const head = headers();
  head.set('HA-Version', '1');
  for (const [name, value] of Object.entries(extra)) head.set(name, value);
  await connection.jetstream().publish(cluster.subject, text, { headers: head });
  await connection.close();
}
