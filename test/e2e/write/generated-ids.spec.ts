import { HAError } from '../../../lib/common/ha-error.js';
import { collect, failureOf, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { resolveOptions } from '../../../lib/config/resolve.js';
import { HARuntime } from '../../../lib/ha-runtime.js';
import { HADatabase } from '../../../lib/write/ha-database.js';

const UUID_7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Nodes with slots 0, 1, 2, … */
function slotted(nodes: number): Promise<Cluster> {
  return startCluster({ nodes, idSlotOf: (index) => ({ slot: () => index }) });
}

describe('ha_id() and ha_uuid()', () => {
  it('work on every connection, as INTEGER and TEXT', async () => {
    const { a, node } = await startCluster({ nodes: 1 }).then((cluster) => ({ a: cluster.a, node: cluster.node(0) }));
    const sql = 'SELECT typeof(ha_id()) AS i, ha_id() AS id, typeof(ha_uuid()) AS t, ha_uuid() AS uuid';
    const expected = { i: 'integer', id: expect.any(Number), t: 'text', uuid: expect.stringMatching(UUID_7) };
    const { writer, applier, reader, outsideReader } = node.runtime.open?.connections ?? {};
    for (const db of [writer, applier, reader, outsideReader]) expect(db?.prepare(sql).get()).toEqual(expected);
    expect(await a.get(sql)).toEqual(expected);
    expect(a.reader.prepare(sql).get()).toEqual(expected);
    for await (const row of a.iterate(sql)) expect(row).toEqual(expected);
    const ids = (await a.prepare('WITH n(i) AS (VALUES(1), (2), (3)) SELECT ha_id() FROM n').pluck().all()) as number[];
    expect([...new Set(ids)].sort((x, y) => x - y)).toEqual(ids);
    const uuids = (await a
      .prepare('WITH n(i) AS (VALUES(1), (2), (3)) SELECT ha_uuid() FROM n')
      .pluck()
      .all()) as string[];
    expect([...new Set(uuids)].toSorted((x, y) => (x < y ? -1 : 1))).toEqual(uuids);
  });

  it('are stored as they were made, on every node, by statements, defaults and triggers', async () => {
    const cluster = await slotted(2);
    await cluster.a.exec(`
      CREATE TABLE t(id BIGINT PRIMARY KEY NOT NULL DEFAULT (ha_id()), uuid TEXT NOT NULL DEFAULT (ha_uuid()), v);
      CREATE TABLE w(id INTEGER PRIMARY KEY DEFAULT (ha_id()), v) WITHOUT ROWID;
      CREATE TABLE log(id INTEGER PRIMARY KEY, v);
      CREATE TRIGGER g AFTER INSERT ON w BEGIN INSERT INTO log VALUES(ha_id(), new.v); END;
      CREATE TABLE s(id INTEGER PRIMARY KEY, v ANY) STRICT;`);
    await cluster.settle();
    await Promise.all(
      [cluster.a, cluster.b].flatMap((db) => [
        db.run(`INSERT INTO t(v) VALUES('one'), ('two')`),
        db.run(`INSERT INTO w(v) VALUES('one'), ('two')`),
        db.run(`INSERT INTO s VALUES(ha_id(), 'one')`),
      ]),
    );
    await cluster.settle();
    await cluster.b.run('INSERT INTO s SELECT ha_id(), v FROM t');
    const made = await cluster.a.get<{ id: number }>(`INSERT INTO s(id, v) VALUES(ha_id(), 'Ada') RETURNING id`);
    expect(await cluster.a.get('SELECT v FROM s WHERE id = ?', [made?.id])).toEqual({ v: 'Ada' });
    await cluster.a.run(`UPDATE s SET v = ha_uuid() WHERE v = 'two'`);
    await cluster.expectEqual();
    const counts = `SELECT (SELECT count(*) FROM t) AS t, (SELECT count(DISTINCT uuid) FROM t) AS uuids,
      (SELECT count(*) FROM w) AS w, (SELECT count(*) FROM log) AS log, (SELECT count(*) FROM s) AS s`;
    expect(await cluster.a.get(counts)).toEqual({ t: 4, uuids: 4, w: 4, log: 4, s: 7 });
    const slots = await cluster.a.prepare('SELECT DISTINCT (id >> 4) & 255 FROM t ORDER BY 1').pluck().all();
    expect(slots).toEqual([0, 1]);
    const types =
      'SELECT DISTINCT typeof(id) FROM (SELECT id FROM t UNION ALL SELECT id FROM w UNION ALL SELECT id FROM s)';
    expect(await cluster.b.prepare(types).pluck().all()).toEqual(['integer']);
  });

  it('keep an insert plain: many nodes insert at once, and nobody runs twice', async () => {
    const cluster = await slotted(3);
    await cluster.a.exec(
      'CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE d(id BIGINT PRIMARY KEY DEFAULT (ha_id()), v)',
    );
    await cluster.settle();
    let attempts = 0;
    const insert = (sql: string) => (db: Cluster['a']) =>
      db.transaction(async (tx) => {
        attempts++;
        return (await tx.run(sql)).lastInsertRowid;
      });
    const rounds = 20;
    for (let round = 0; round < rounds; round++) {
      await Promise.all(cluster.nodes.map(({ db }) => insert(`INSERT INTO t VALUES(ha_id(), ${round})`)(db)));
      await Promise.all(cluster.nodes.map(({ db }) => insert(`INSERT INTO d(v) VALUES(${round})`)(db)));
    }
    expect(attempts).toBe(rounds * 6);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT (SELECT count(*) FROM t) AS t, (SELECT count(*) FROM d) AS d')).toEqual({
      t: rounds * 3,
      d: rounds * 3,
    });
  });

  it('give way to the rowid where a default stands on INTEGER PRIMARY KEY, for SQLite ignores it', async () => {
    const cluster = await startCluster({ nodes: 1 });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY DEFAULT (ha_id()), v)');
    expect((await cluster.a.run('INSERT INTO t(v) VALUES(1)')).lastInsertRowid).toBe(1);
  });

  it('are refused in writes to virtual tables, where every node would make its own', async () => {
    const cluster = await startCluster({ nodes: 1 });
    await cluster.a.exec('CREATE VIRTUAL TABLE f USING fts5(body)');
    for (const sql of ['INSERT INTO f VALUES(ha_uuid())', `INSERT INTO f(rowid, body) VALUES(HA_ID (), 'x')`]) {
      expect((await failureOf(cluster.a.run(sql))).code).toBe('HA_STATEMENT_REFUSED');
    }
    const id = await cluster.a.prepare('SELECT ha_id()').safeIntegers().pluck().get();
    await cluster.a.run(`INSERT INTO f(rowid, body) VALUES(?, 'x')`, [id]);
    expect(await cluster.a.prepare('SELECT rowid FROM f').safeIntegers().pluck().get()).toBe(id);
  });

  it('cannot be replaced by configure', async () => {
    const cluster = await startCluster({
      nodes: 1,
      configure: (db) => void db.function('ha_id', () => 7).function('ha_uuid', () => 'mine'),
    });
    expect(await cluster.a.get("SELECT ha_id() > 7 AS id, ha_uuid() <> 'mine' AS uuid")).toEqual({ id: 1, uuid: 1 });
  });

  it('fail with the error of the slot where there is none, and the transaction writes nothing', async () => {
    let isLost = false;
    const slot = (): number => {
      if (isLost) throw new HAError('HA_UNAVAILABLE', 'The slot was lost.', { retryable: true });
      return 9;
    };
    const cluster = await startCluster({ nodes: 1, idSlotOf: () => ({ slot }) });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.run('INSERT INTO t VALUES(ha_id(), 1)');
    isLost = true;
    const error = await failureOf(cluster.a.exec(`INSERT INTO t VALUES(5, 5); INSERT INTO t VALUES(ha_id(), 2)`));
    expect(error).toMatchObject({ code: 'HA_UNAVAILABLE', retryable: true });
    isLost = false;
    await cluster.a.run('INSERT INTO t VALUES(ha_id(), 3)');
    expect(await cluster.a.prepare('SELECT v FROM t ORDER BY id').pluck().all()).toEqual([1, 3]);
    await cluster.expectEqual();
  });

  it('go on behind the last one when the database is stopped and started', async () => {
    const options = resolveOptions(`file:${temporaryFolder()}/alone.db`, {}, {});
    const runtime = new HARuntime(options, { logger: collect([]), retryAttempts: 0, retryDelay: 1 });
    const db = new HADatabase(runtime);
    const next = (): Promise<unknown> => db.prepare('SELECT ha_id()').pluck().get();
    await db.start();
    const before = (await next()) as number;
    expect(runtime.ids.highest()).toBeGreaterThan(Date.now() - 60_000);
    await db.stop();
    await db.start();
    expect((await next()) as number).toBeGreaterThan(before);
    await db.close();
    await until(() => runtime.open === undefined);
  });
});

describe('generatedIds=overwrite', () => {
  const options = { generatedIds: 'overwrite' } as const;
  const warnings = (cluster: Cluster): string[] =>
    cluster
      .node(0)
      .events.flatMap((event) =>
        event.type === 'warning' && 'table' in event ? [`${event.code} ${event.table}`] : [],
      );
  /** Tables whose generated ids are marked. */
  const marked = (cluster: Cluster): unknown =>
    cluster
      .node(0)
      .runtime.open?.connections.writer.prepare(
        `SELECT tbl_name FROM temp.sqlite_schema WHERE name GLOB 'ha_capture_*_b' ORDER BY 1`,
      )
      .pluck()
      .all();

  it('warns once for each table whose id SQLite chose, and marks no more then', async () => {
    const cluster = await startCluster({ options });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); CREATE TABLE u(id INTEGER PRIMARY KEY, v)');
    await cluster.a.exec('CREATE TABLE bag(v); INSERT INTO bag VALUES(1)');
    await cluster.a.run('INSERT INTO t VALUES(7, 7)');
    await cluster.a.run('INSERT OR IGNORE INTO t(v) VALUES(7)');
    expect(warnings(cluster)).toEqual([]);
    expect(marked(cluster)).toEqual(['t', 'u']);
    await Promise.all([1, 2, 3].map((v) => cluster.a.run('INSERT INTO t(v) VALUES(?)', [v])));
    await cluster.a.run('INSERT INTO t(v) VALUES(8), (9)');
    expect(warnings(cluster)).toEqual(['HA_GENERATED_IDS t']);
    expect(marked(cluster)).toEqual(['u']);
    const lines = cluster.node(0).log.filter((line) => line.includes('ha_id()'));
    expect(lines).toEqual([expect.stringMatching(/'t'.*replaces the earlier.*generatedIds=ordered/)]);
    await cluster.a.run('INSERT INTO u VALUES(NULL, 1)');
    await cluster.a.run('INSERT INTO bag VALUES(2)');
    await cluster.a.exec('ALTER TABLE t ADD COLUMN w; INSERT INTO t(v) VALUES(10)');
    expect(warnings(cluster)).toEqual(['HA_GENERATED_IDS t', 'HA_GENERATED_IDS u']);
    expect(marked(cluster)).toEqual([]);
    await cluster.expectEqual();
  });

  it('captures on behind a roll back of the transaction that was warned about', async () => {
    const cluster = await startCluster({ options });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const broken = cluster.a.transaction(async (tx) => {
      await tx.savepoint(async (inner) => {
        await inner.run('INSERT INTO t(v) VALUES(1)');
      });
      throw new Error('no');
    });
    expect((await failureOf(broken)).message).toBe('no');
    await cluster.a.run('INSERT INTO t(v) VALUES(2)');
    await cluster.a.run('INSERT INTO t(v) VALUES(3)');
    expect(warnings(cluster).length).toBe(1);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
  });

  it('warns of rows without a key too, where they are found by their rowid', async () => {
    const cluster = await startCluster({ options: { ...options, rowIdentify: 'rowid' } });
    await cluster.a.exec(
      'CREATE TABLE bag(v); CREATE TABLE k(k TEXT PRIMARY KEY); CREATE TABLE w(k TEXT PRIMARY KEY) WITHOUT ROWID',
    );
    await cluster.a.exec(`INSERT INTO bag VALUES(1); INSERT INTO k VALUES('a'); INSERT INTO w VALUES('a')`);
    expect(warnings(cluster)).toEqual(['HA_GENERATED_IDS bag', 'HA_GENERATED_IDS k']);
    await cluster.expectEqual();
  });

  it('is silent with generatedIds=ordered', async () => {
    const cluster = await startCluster();
    await cluster.a.run('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.run('INSERT INTO t(v) VALUES(1)');
    expect(warnings(cluster)).toEqual([]);
    expect(marked(cluster)).toEqual(['t']);
  });
});
