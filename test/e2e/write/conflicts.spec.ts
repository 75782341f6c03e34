import { connect } from 'nats';
import type { HAConflict } from '../../../lib/common/events.js';
import type { HAOptions } from '../../../lib/config/options.js';
import { CursorWriter } from '../../../lib/sqlite/control-tables.js';
import type { HATransaction } from '../../../lib/write/executor.js';
import type { Cluster } from '../../helper/cluster.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';

const SCHEMA = `
  CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v, w);
  CREATE TABLE bag(u UNIQUE, v);
  CREATE TABLE pair(a TEXT COLLATE NOCASE, b TEXT, v, PRIMARY KEY(a, b)) WITHOUT ROWID;
  INSERT INTO t VALUES(1, 'one', 'start', 1.5), (2, 'two', 'start', x'00ff');
  INSERT INTO bag VALUES('x', 'start'), ('y', 'start');
  INSERT INTO pair VALUES('k', 'l', 'start');`;

async function cluster(nodes = 3, schema = SCHEMA, options: HAOptions = {}): Promise<Cluster> {
  const made = await startCluster({ nodes, options });
  await made.a.exec(schema);
  await made.settle();
  return made;
}

/** Node `b` runs its transaction before it sees what `a` writes, and is stored behind it. */
async function race(on: Cluster, first: string, then: string): Promise<{ first: bigint; last: bigint }> {
  let before: { txseq?: bigint } | undefined;
  const sequences: bigint[] = [];
  await on.b.transaction(async (tx: HATransaction) => {
    for (const sql of then.split(';')) await tx.run(sql);
    for (const sql of first.split(';')) {
      before = await on.a.run(sql);
      sequences.push(before.txseq ?? 0n);
    }
  });
  await on.settle();
  return { first: sequences.at(-1) ?? 0n, last: on.b.position().published };
}

function conflictsOf(on: Cluster, node: number): HAConflict[] {
  return on.node(node).events.filter((event) => event.type === 'conflict');
}

/** What every node tells alike. */
function conflicts(on: Cluster): HAConflict[] {
  const [told = [], ...others] = on.nodes.map((_node, index) => conflictsOf(on, index));
  for (const other of others) expect(other).toEqual(told);
  for (const { db } of on.nodes) expect(db.status().conflicts).toBe(told.length);
  return told;
}

describe('a conflict is told by all nodes alike', () => {
  it('UPDATE over UPDATE', async () => {
    const on = await cluster();
    const at = await race(on, `UPDATE t SET v = 'a' WHERE id = 1`, `UPDATE t SET w = 9 WHERE id = 1`);
    expect(conflicts(on)).toEqual([
      {
        type: 'conflict',
        sequence: at.last,
        table: 't',
        key: { id: 1n },
        operation: 'UPDATE',
        lost: { id: 1n, u: 'one', v: 'a', w: 1.5 },
        winner: { node: 'n2', sequence: at.last, values: { id: 1n, u: 'one', v: 'start', w: 9n } },
        loser: { node: 'n1', sequence: at.first },
      },
    ]);
    await on.expectEqual();
  });

  it('DELETE over UPDATE', async () => {
    const on = await cluster();
    const at = await race(on, `UPDATE t SET v = 'a' WHERE id = 2`, 'DELETE FROM t WHERE id = 2');
    expect(conflicts(on)).toEqual([
      {
        type: 'conflict',
        sequence: at.last,
        table: 't',
        key: { id: 2n },
        operation: 'DELETE',
        lost: { id: 2n, u: 'two', v: 'a', w: Buffer.from([0, 255]) },
        winner: { node: 'n2', sequence: at.last, values: undefined },
        loser: { node: 'n1', sequence: at.first },
      },
    ]);
  });

  it.each([
    ['a table with a key', 'DELETE FROM t WHERE id = 1', 'UPDATE t SET v = 9 WHERE id = 1', 't', { id: 1n }],
    ['a table without', `DELETE FROM bag WHERE u = 'x'`, `UPDATE bag SET v = 9 WHERE u = 'x'`, 'bag', 1n],
    ['a key without regard to case', `DELETE FROM pair`, `UPDATE pair SET a = 'K', v = 9`, 'pair', { a: 'k', b: 'l' }],
  ])('UPDATE brings back what was deleted: %s', async (_name, first, then, table, key) => {
    const on = await cluster();
    const at = await race(on, first, then);
    expect(conflicts(on)).toEqual([
      expect.objectContaining({
        table,
        key,
        operation: 'UPDATE',
        lost: undefined,
        loser: { node: 'n1', sequence: at.first },
      }),
    ]);
  });

  it('INSERT over INSERT, and OR REPLACE over an UPDATE', async () => {
    const on = await cluster();
    await race(on, `INSERT INTO t VALUES(5, 'a5', 'a', 1)`, `INSERT INTO t VALUES(5, 'b5', 'b', 1)`);
    await race(on, `UPDATE t SET v = 'a' WHERE id = 2`, `INSERT OR REPLACE INTO t VALUES(2, 'two', 'b', 1)`);
    expect(conflicts(on)).toMatchObject([
      { key: { id: 5n }, operation: 'INSERT', lost: { u: 'a5' }, winner: { values: { u: 'b5' } } },
      { key: { id: 2n }, operation: 'INSERT', lost: { v: 'a' }, winner: { values: { v: 'b' } } },
    ]);
  });

  it.each([
    ['t', `INSERT INTO t VALUES(7, 'same', 'a', 1)`, `INSERT INTO t VALUES(8, 'same', 'b', 1)`, { id: 7n }],
    ['t', `UPDATE t SET u = 'same' WHERE id = 1`, `UPDATE t SET u = 'same' WHERE id = 2`, { id: 1n }],
    ['bag', `INSERT INTO bag VALUES('same', 'a')`, `INSERT INTO bag VALUES('same', 'b')`, 3n],
    ['bag', `UPDATE bag SET u = 'same' WHERE u = 'x'`, `UPDATE bag SET u = 'same', v = 'b' WHERE u = 'y'`, 1n],
  ])('a row of %s that gave way to a unique index: %s', async (table, first, then, key) => {
    const on = await cluster();
    const at = await race(on, first, then);
    expect(conflicts(on)).toMatchObject([{ table, key, lost: { u: 'same' }, loser: { sequence: at.first } }]);
    await on.expectEqual();
  });

  it.each([
    ['ON t(lower(v), w + 1) WHERE w > 5', `'Same', 6`, `'sAME', 6`],
    [`ON t(v COLLATE NOCASE DESC) WHERE w = 'x'`, `'Same', 'x'`, `'sAME', 'x'`],
  ])('by an index %s', async (index, first, then) => {
    const on = await cluster(3, `${SCHEMA} CREATE UNIQUE INDEX i ${index}`);
    await race(on, `INSERT INTO t VALUES(7, 7, ${first})`, `INSERT INTO t VALUES(8, 8, ${then})`);
    expect(conflicts(on)).toMatchObject([{ key: { id: 7n }, winner: { values: { id: 8n } } }]);
    expect(await on.c.all('SELECT id FROM t WHERE id > 2')).toEqual([{ id: 8 }]);
  });

  it.each(['rowid', 'full'] as const)('where rows are found otherwise: rowIdentify=%s', async (rowIdentify) => {
    const on = await cluster(3, SCHEMA, { rowIdentify });
    await race(on, `UPDATE t SET v = 'a' WHERE id = 1`, `UPDATE t SET v = 'b' WHERE id = 1`);
    await race(on, 'DELETE FROM t WHERE id = 2', `UPDATE t SET v = 'b' WHERE id = 2`);
    expect(conflicts(on)).toMatchObject([
      { key: { id: 1n }, operation: 'UPDATE', lost: { v: 'a' }, winner: { values: { v: 'b' } }, loser: { node: 'n1' } },
      { key: { id: 2n }, operation: 'UPDATE', lost: undefined, winner: { values: { v: 'b' } }, loser: { node: 'n1' } },
    ]);
    await on.expectEqual();
  });

  it('names the last of several losers, and tells each row of a transaction', async () => {
    const on = await cluster();
    let last = 0n;
    await on.b.transaction(async (tx) => {
      await tx.run(`UPDATE t SET v = 'b'`);
      const { txseq = 0n } = await on.a.run(`UPDATE t SET v = 'a' WHERE id = 1`);
      await on.c.waitFor(txseq);
      last = (await on.c.run(`UPDATE t SET v = 'c'`)).txseq ?? 0n;
    });
    await on.settle();
    expect(conflicts(on)).toMatchObject([
      { key: { id: 1n }, lost: { v: 'c' }, loser: { node: 'n3', sequence: last } },
      { key: { id: 2n }, lost: { v: 'c' }, loser: { node: 'n3', sequence: last } },
    ]);
  });

  it('UPDATE over DELETE, where the winner puts another row in its place behind that', async () => {
    const on = await cluster();
    const at = await race(
      on,
      'DELETE FROM t WHERE id = 1',
      `UPDATE t SET v = 'b' WHERE id = 1;INSERT OR REPLACE INTO t VALUES(1, 'one', 'c', 1)`,
    );
    expect(conflicts(on)).toMatchObject([
      { key: { id: 1n }, operation: 'UPDATE', lost: undefined, loser: { sequence: at.first } },
    ]);
  });

  it('with the names that table and columns have now', async () => {
    const on = await cluster();
    await race(
      on,
      `UPDATE t SET v = 'a' WHERE id = 1;ALTER TABLE t RENAME COLUMN v TO value;ALTER TABLE t RENAME TO renamed`,
      `UPDATE t SET v = 'b' WHERE id = 1`,
    );
    expect(conflicts(on)).toMatchObject([
      { table: 'renamed', lost: { value: 'a' }, winner: { values: { value: 'b' } } },
    ]);
  });

  it('in a transaction of several messages', async () => {
    const on = await startCluster({ nodes: 3, server: { maxPayload: 16_384 } });
    await on.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v, pad); INSERT INTO t VALUES(1, 'start', NULL)`);
    await on.settle();
    const rows = Array.from({ length: 60 }, (_value, index) => `(${index + 10}, 0, '${'x'.repeat(1_000)}')`).join(', ');
    const at = await race(
      on,
      `UPDATE t SET v = 'a'`,
      `UPDATE t SET v = 'b' WHERE id = 1;INSERT INTO t VALUES${rows};UPDATE t SET v = 'c' WHERE id = 1`,
    );
    expect(conflicts(on)).toMatchObject([
      { sequence: at.last, lost: { v: 'a' }, winner: { values: { v: 'b' } }, loser: { sequence: at.first } },
    ]);
    expect(at.last - at.first).toBeGreaterThan(1n);
  });
});

describe('no conflict is told', () => {
  it.each([
    ['for equal values', `UPDATE t SET v = 'same' WHERE id = 1`, `UPDATE t SET v = 'same' WHERE id = 1`],
    ['for equal rows', `INSERT INTO t VALUES(5, 5, 5, 5)`, `INSERT INTO t VALUES(5, 5, 5, 5)`],
    [
      'for equal rows without a key',
      `INSERT INTO bag VALUES('z', 'z')`,
      `INSERT INTO bag(rowid, u, v) VALUES(9, 'z', 'z')`,
    ],
    ['for two DELETEs', 'DELETE FROM t', 'DELETE FROM t'],
    ['for different rows', `UPDATE t SET v = 'a' WHERE id = 1`, `UPDATE t SET v = 'b' WHERE id = 2`],
    [
      'for a row that was changed and changed back',
      `UPDATE t SET v = 1;UPDATE t SET v = 'start'`,
      'UPDATE t SET v = 2',
    ],
    ['for rows without a key, which are both kept', `UPDATE bag SET v = 'a', u = u || 1`, `UPDATE bag SET v = 'b'`],
    [
      'where OR REPLACE removes what its writer saw',
      'DELETE FROM bag',
      `INSERT OR REPLACE INTO t VALUES(1, 'two', 3, 4)`,
    ],
  ])('%s', async (_name, first, then) => {
    const on = await cluster();
    await race(on, first, then);
    expect(conflicts(on)).toEqual([]);
    await on.expectEqual();
  });

  it('where nobody writes at the same time, and for the transactions of one node behind each other', async () => {
    const on = await cluster();
    for (const db of [on.a, on.b, on.c]) {
      await Promise.all([
        db.run(`UPDATE t SET v = v || '.' WHERE id = 1`),
        db.run('DELETE FROM t WHERE id = 2'),
        db.run(`INSERT OR REPLACE INTO t VALUES(2, 2, 2, 2)`),
        db.run(`INSERT OR REPLACE INTO t VALUES(3, 2, 2, 2)`),
        db.run(`UPDATE t SET v = v || '-'`),
      ]);
      await on.settle();
    }
    expect(conflicts(on)).toEqual([]);
  });

  it('for a row that the winner makes itself, and that a foreign key changes in front of it', async () => {
    const family = `CREATE TABLE family(id INTEGER PRIMARY KEY, u UNIQUE, parent REFERENCES family(id) ON UPDATE SET NULL);
      INSERT INTO family VALUES(2, 'x', 2);`;
    const on = await cluster(3, family);
    const at = await race(
      on,
      `INSERT OR REPLACE INTO family VALUES(4, 'x', NULL)`,
      `UPDATE family SET id = 5 WHERE id = 2`,
    );
    // Row 2 is gone, and row 4 has to go. Row 5, which the foreign key changes behind it, never was another's.
    expect(conflicts(on).map(({ key, loser }) => ({ key, loser: loser?.sequence }))).toEqual([
      { key: { id: 2n }, loser: at.first },
      { key: { id: 4n }, loser: at.first },
    ]);
    expect(on.a.reader.prepare('SELECT * FROM family').all()).toEqual([{ id: 5, u: 'x', parent: null }]);
    await on.expectEqual();
  });

  it('but the first, where the winner goes on in the same group', async () => {
    const on = await cluster();
    let second: Promise<unknown> | undefined;
    await on.b.transaction(async (tx) => {
      await tx.run(`UPDATE t SET v = 'b1' WHERE id = 1`);
      second = on.b.run(`INSERT OR REPLACE INTO t VALUES(1, 'one', 'b2', 0)`).catch((error: unknown) => error);
      await on.a.run(`UPDATE t SET v = 'a' WHERE id = 1`);
    });
    await second;
    await on.settle();
    expect(conflicts(on)).toMatchObject([{ lost: { v: 'a' }, winner: { values: { v: 'b1' } } }]);
  });
});

describe('a message of go-ha', () => {
  const change = (operation: string, before: unknown[] | undefined, after: unknown[] | undefined): object => ({
    database: 'main',
    table: 't',
    columns: ['id', 'u', 'v', 'w'],
    pk_columns: ['id'],
    operation,
    ...(before === undefined ? {} : { old_rowid: before[0], old_values: before }),
    ...(after === undefined ? {} : { new_rowid: after[0], new_values: after }),
  });

  async function publish(on: Cluster, ...changes: object[]): Promise<void> {
    const connection = await connect({ servers: on.url });
    const text = JSON.stringify({ node: 'go', process_id: 1, filename: 'db', changes, timestamp_ns: 1 });
    await connection.jetstream().publish(on.subject, Buffer.from(text));
    await connection.close();
    await on.settle();
  }

  it('says by its old image what its writer saw', async () => {
    const on = await cluster();
    await on.a.run(`UPDATE t SET v = 2.0, w = 3 WHERE id = 1`);
    await publish(on, change('UPDATE', [1, 'one', 2, 3], [1, 'one', 2, 4]));
    expect(conflicts(on)).toEqual([]);
    const { txseq } = await on.a.run(`UPDATE t SET w = 5 WHERE id = 1`);
    await publish(
      on,
      change('UPDATE', [1, 'one', 2, 4], [1, 'one', 2, 6]),
      change('INSERT', undefined, [2, 'go', 'go', 'go']),
      change('DELETE', [9, 9, 9, 9], undefined),
    );
    expect(conflicts(on)).toMatchObject([
      { key: { id: 1n }, lost: { w: 5n }, winner: { node: 'go' }, loser: { node: 'n1', sequence: txseq } },
      {
        key: { id: 2n },
        lost: { u: 'two' },
        winner: { node: 'go', values: { u: 'go' } },
        loser: { node: 'n1', sequence: 1n },
      },
    ]);
  });
});

describe('conflict events', () => {
  it('come once, in front of `applied`, where a batch is taken back and tried again', async () => {
    const on = await cluster();
    const { write } = CursorWriter.prototype;
    const failed = new Set<number>();
    onCleanup(() => void (CursorWriter.prototype.write = write));
    CursorWriter.prototype.write = function fail(this: CursorWriter, cursor, seen) {
      write.call(this, cursor, seen);
      if (failed.has(cursor.received)) return;
      failed.add(cursor.received);
      throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL', name: 'SqliteError' });
    };
    const at = await race(on, `UPDATE t SET v = 'a' WHERE id = 1`, `UPDATE t SET v = 'b' WHERE id = 1`);
    expect(failed.size).toBeGreaterThan(0);
    expect(conflicts(on)).toMatchObject([{ sequence: at.last, loser: { node: 'n1', sequence: at.first } }]);
    for (const { events } of on.nodes) {
      const told = events.flatMap((event) => ('sequence' in event && event.sequence === at.last ? [event.type] : []));
      expect(told).toEqual(['conflict', 'applied']);
    }
  });

  it('do not name a loser from before a restart', async () => {
    const on = await cluster();
    const third = on.node(2);
    await on.b.transaction(async (tx) => {
      await tx.run(`UPDATE t SET v = 'b' WHERE id = 1`);
      await tx.run(`INSERT INTO t VALUES(5, 5, 'b', 5)`);
      const { txseq = 0n } = await on.a.run(`UPDATE t SET v = 'a' WHERE id = 1`);
      await third.db.waitFor(txseq);
      await third.db.stop();
      await third.db.start();
    });
    await on.settle();
    expect(conflictsOf(on, 0)).toMatchObject([{ lost: { v: 'a' }, loser: { node: 'n1' } }]);
    expect(conflictsOf(on, 2)).toEqual(conflictsOf(on, 0).map((event) => ({ ...event, loser: undefined })));
  });
});
