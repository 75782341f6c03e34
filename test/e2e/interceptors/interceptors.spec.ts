import { connect } from 'nats';
import type { HAChange } from '../../../lib/changeset/row-changes.js';
import type { HAInterceptor, HAInterceptorAnswer } from '../../../lib/changeset/interceptor.js';
import { withValues } from '../../../lib/changeset/interceptor.js';
import { isRowChange } from '../../../lib/changeset/changeset.js';
import type { HAError } from '../../../lib/common/ha-error.js';
import { IgnoreTables } from '../../../lib/interceptors/ignore-tables.js';
import { MergeCounter } from '../../../lib/interceptors/merge-counter.js';
import type { Cluster, TestNode } from '../../helper/cluster.js';
import { failureOf, pause, startCluster, until } from '../../helper/cluster.js';

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(x)`;

async function cluster(
  interceptors: (index: number) => readonly HAInterceptor[],
  settings: Parameters<typeof startCluster>[0] = {},
): Promise<Cluster> {
  const made = await startCluster({ ...settings, interceptorsOf: interceptors });
  await made.a.exec(SCHEMA);
  await made.settle();
  return made;
}

const eventsOf = ({ events }: TestNode, type: string): unknown[] => events.filter((event) => event.type === type);

describe('counters', () => {
  it.each([
    ['sync', {}],
    ['async', { asyncPublisher: true }],
  ])(
    'that three nodes count on at once are exact, without serializable: %s',
    async (_name, options) => {
      const on = await cluster(() => [MergeCounter('accounts', 'balance')], { nodes: 3, options });
      await on.a.exec(
        `CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER, by TEXT);
       INSERT INTO accounts VALUES(1, 9007199254740993, ''), (2, 0, '')`,
      );
      await on.settle();
      const rounds = 40;
      const work = on.nodes.map(async ({ db }, index) => {
        for (let round = 0; round < rounds; round++) {
          await Promise.all([
            db.run('UPDATE accounts SET balance = balance + 1, by = ? WHERE id = 1', [`n${index}`]),
            db.run('UPDATE accounts SET balance = balance - ? WHERE id = 2', [index + 1]),
          ]);
        }
      });
      await Promise.all(work);
      await on.settle();
      const sums = on.nodes.map(({ db }) =>
        db.reader.prepare('SELECT balance FROM accounts ORDER BY id').pluck().safeIntegers().all(),
      );
      const expected = [9007199254740993n + 3n * BigInt(rounds), -6n * BigInt(rounds)];
      expect(sums).toEqual([expected, expected, expected]);
      // They did meet, or nothing is proven.
      expect(eventsOf(on.node(0), 'intercepted').length).toBeGreaterThan(0);
      await on.expectEqual();
    },
    120_000,
  );
});

describe('an interceptor that answers later', () => {
  it('decides in stream order on every node, and what it decided is what is told', async () => {
    const later = (): HAInterceptor => ({
      name: 'later',
      tables: ['t'],
      beforeApply: async ({ changes }, context): Promise<HAInterceptorAnswer> => {
        await pause(2);
        const { n } = context.get<{ n: bigint }>('SELECT count(*) AS n FROM t') ?? { n: 0n };
        return changes.flatMap((change) => {
          if (!isRowChange(change) || change.table !== 't' || change.operation !== 'INSERT') return [change];
          return n % 2n === 0n ? [withValues(change, { v: n })] : [];
        });
      },
    });
    const on = await cluster(() => [later()], { nodes: 2 });
    const feed: HAChange[] = [];
    on.a.changes.subscribe((change) => feed.push(change));
    const results = await Promise.all(
      Array.from({ length: 20 }, (_value, id) => (id % 2 === 0 ? on.a : on.b).run('INSERT INTO t VALUES(?, 0)', [id])),
    );
    // All are answered with their place, left out or not.
    expect(new Set(results.map(({ txseq }) => txseq)).size).toBe(20);
    await on.expectEqual();
    // The first counts 0 rows, and takes effect; from then on there is one.
    const rows = await on.a.all<{ id: number; v: number }>('SELECT * FROM t');
    expect(rows).toEqual([{ id: expect.any(Number) as number, v: 0 }]);
    expect(feed.map(({ table, after }) => [table, after])).toEqual([['t', rows[0]]]);
    const told = on.nodes.map((node) => eventsOf(node, 'intercepted'));
    expect(told[0]).toHaveLength(20);
    expect(told[1]).toEqual(told[0]);
    expect(told[0]?.[1]).toMatchObject({ interceptors: ['later'], written: 1, applied: 0 });
  }, 60_000);

  it('does not hold back stop(); what it was asked about is asked again', async () => {
    let release: () => void = () => undefined;
    let asked = 0;
    const never: HAInterceptor = {
      name: 'never',
      tables: ['t'],
      beforeApply: ({ changes }) => {
        if (!changes.some((change) => isRowChange(change))) return undefined;
        asked++;
        return new Promise<void>((resolve) => {
          release = resolve;
        });
      },
    };
    const on = await cluster((index) => (index === 1 ? [never] : []));
    await on.a.run('INSERT INTO log VALUES(1)');
    await on.a.run('INSERT INTO t VALUES(1, 1)');
    await until(() => asked === 1);
    await on.b.stop();
    release();
    const started = on.b.start();
    await until(() => asked === 2);
    release();
    await started;
    expect(await on.b.all('SELECT * FROM t')).toEqual([{ id: 1, v: 1 }]);
    expect(on.b.status().state).toBe('running');
  }, 60_000);
});

describe('an interceptor that fails', () => {
  const failing = (broken: { is: boolean; why?: () => unknown }): HAInterceptor => ({
    name: 'failing',
    tables: ['t'],
    beforeApply: ({ changes }, context) => {
      if (!broken.is || !changes.some((change) => isRowChange(change))) return undefined;
      if (broken.why === undefined) throw new Error('the tariff is missing');
      return broken.why() as HAInterceptorAnswer & typeof context;
    },
  });

  it('halts replication with its name and the sequence, in front of the message, until it is mended', async () => {
    const broken = { is: true };
    const on = await cluster((index) => (index === 1 ? [failing(broken)] : []));
    await on.b.stop();
    await on.a.run(`INSERT INTO log VALUES('in front')`);
    const { txseq } = await on.a.run('INSERT INTO t VALUES(1, 1)');
    await on.a.run(`INSERT INTO log VALUES('behind')`);
    const error = (await failureOf(on.b.start())) as HAError;
    expect(error).toMatchObject({
      code: 'HA_INTERCEPTOR',
      details: { interceptor: 'failing', sequence: Number(txseq) },
      cause: expect.objectContaining({ message: 'the tariff is missing' }) as Error,
    });
    expect(error.message).toContain(`'failing' failed at sequence ${txseq}: the tariff is missing`);
    expect(eventsOf(on.node(1), 'halted')).toMatchObject([{ sequence: txseq, error: { code: 'HA_INTERCEPTOR' } }]);
    expect((await failureOf(on.b.skip(txseq ?? 0n))).code).toBe('HA_SKIP_INVALID');
    broken.is = false;
    await on.b.start();
    expect(await on.b.all('SELECT * FROM log')).toEqual([{ x: 'in front' }, { x: 'behind' }]);
    await on.expectEqual();
  }, 60_000);

  it('applies what is in front of the message, and answers the writer that its transaction is stored', async () => {
    const broken = { is: true };
    const on = await cluster(() => [failing(broken)]);
    const front = on.a.run(`INSERT INTO log VALUES('in front')`);
    const error = (await failureOf(on.a.run('INSERT INTO t VALUES(1, 1)'))) as HAError;
    await front;
    expect(error).toMatchObject({ code: 'HA_INTERCEPTOR', details: { sequence: 3 } });
    await until(() => on.nodes.every(({ db }) => db.status().state === 'halted'));
    for (const { db } of on.nodes) {
      expect(db.status().lastError).toMatchObject({ code: 'HA_INTERCEPTOR' });
      expect(await db.all('SELECT * FROM log')).toEqual([{ x: 'in front' }]);
    }
  }, 60_000);

  it.each<[string, () => unknown, RegExp]>([
    ['neither pass nor skip', () => 'maybe', /neither 'pass', 'skip' nor a list/],
    ['a table that is not there', () => [row({ table: 'nowhere' })], /'nowhere' cannot be applied: no such table/],
    ['a column that is not there', () => [row({ columns: ['id', 'q'] })], /'t' has no column 'q'/],
    ['no key', () => [row({ columns: ['v'], newValues: [1n] })], /or its key is missing/],
    ['too few values', () => [row({ newValues: [1n] })], /one value for each column/],
    ['a Date', () => [row({ newValues: [1n, new Date(0)] })], /holds object/],
    ['2 ** 63', () => [row({ newValues: [1n, 2n ** 63n] })], /holds bigint 9223372036854775808/],
    ['NaN', () => [row({ newValues: [1n, NaN] })], /holds number NaN/],
    ['a statement', () => [{ operation: 'SQL', command: 'DELETE FROM t', args: [] }], /neither one of the changes/],
    ['a table of replication', () => [row({ table: 'ha_stats' })], /belongs to replication/],
  ])(
    'by an answer that cannot be applied: %s',
    async (_name, why, message) => {
      const on = await cluster((index) => (index === 1 ? [failing({ is: true, why })] : []));
      await on.a.run('INSERT INTO t VALUES(1, 1)');
      await until(() => on.b.status().state === 'halted');
      expect(on.b.status().lastError).toMatchObject({ code: 'HA_INTERCEPTOR' });
      expect(on.b.status().lastError?.message).toMatch(message);
    },
    60_000,
  );

  it.each<[string, (node: () => TestNode) => HAInterceptor, RegExp]>([
    [
      'that calls the database',
      (node) => ({ tables: ['t'], beforeApply: async () => void (await node().db.run('INSERT INTO log VALUES(1)')) }),
      /called inside the interceptor 'interceptors\[0\]'/,
    ],
    [
      'that writes through its context',
      () => ({ tables: ['t'], beforeApply: (_set, context) => void context.get('DELETE FROM t RETURNING *') }),
      /its context only reads/,
    ],
    [
      'that takes its time for a row',
      () => ({ tables: ['t'], beforeRow: (() => Promise.resolve()) as unknown as () => undefined }),
      /beforeRow has to answer at once/,
    ],
    [
      'that changes what it is given',
      () => ({
        tables: ['t'],
        beforeApply: ({ changes }) => {
          (changes as unknown[]).pop();
        },
      }),
      /Cannot delete property/,
    ],
    ['behind the rows', () => ({ tables: ['t'], afterApply: () => Promise.reject(new Error('not so')) }), /not so/],
  ])(
    'is said so: %s',
    async (_name, make, message) => {
      let made: Cluster | undefined;
      const on = await cluster((index) => (index === 1 ? [make(() => (made as Cluster).node(1))] : []));
      made = on;
      await on.a.run('INSERT INTO t VALUES(1, 1)').catch(() => undefined);
      await until(() => on.b.status().state === 'halted');
      expect(on.b.status().lastError).toMatchObject({ code: 'HA_INTERCEPTOR' });
      expect(on.b.status().lastError?.message).toMatch(message);
    },
    60_000,
  );
});

function row(change: object): object {
  return { operation: 'INSERT', table: 't', columns: ['id', 'v'], newValues: [1n, 1n], ...change };
}

it('sees messages of go-ha as they are stored', async () => {
  const seen: unknown[] = [];
  const spy: HAInterceptor = { name: 'spy', tables: ['b'], beforeRow: ({ newValues }) => void seen.push(newValues) };
  const on = await cluster((index) => (index === 0 ? [spy] : []));
  const connection = await connect({ servers: on.url });
  const create = { operation: 'SQL', command: 'CREATE TABLE b(id INTEGER PRIMARY KEY, x BLOB, y REAL)', args: [] };
  const insert = {
    operation: 'INSERT',
    database: 'main',
    table: 'b',
    columns: ['id', 'x', 'y'],
    new_rowid: 1,
    new_values: [1, Buffer.from([0, 255]).toString('base64'), 2],
  };
  await connection.jetstream().publish(on.subject, JSON.stringify({ node: 'go', changes: [create, insert] }));
  await connection.close();
  await on.expectEqual();
  expect(seen).toEqual([[1n, Buffer.from([0, 255]), 2]]);
  expect(on.a.reader.prepare('SELECT hex(x) AS x, typeof(y) AS y FROM b').get()).toEqual({ x: '00FF', y: 'real' });
}, 60_000);

it('warns of nodes that have others', async () => {
  const on = await startCluster({
    nodes: 3,
    interceptorsOf: (index) => (index < 2 ? [IgnoreTables('log'), MergeCounter('t', 'v')] : [MergeCounter('t', 'v')]),
  });
  const warnings = on.nodes.map(({ events }) => events.flatMap((event) => (event.type === 'warning' ? [event] : [])));
  expect(warnings[0]).toEqual([]);
  expect(warnings[1]).toEqual([]);
  expect(warnings[2]).toMatchObject([
    { code: 'HA_INTERCEPTORS', node: 'n1' },
    { code: 'HA_INTERCEPTORS', node: 'n2' },
  ]);
  expect(on.node(2).log.join('\n')).toContain(
    `The interceptors of 'n1' are IgnoreTables(log), MergeCounter(t.v), and those of this node MergeCounter(t.v)`,
  );
}, 60_000);

it('says where it is never asked', async () => {
  const on = await cluster(() => [IgnoreTables('log')], {
    optionsOf: (index) => (index === 1 ? { disableSubscriber: true } : {}),
  });
  expect(on.node(1).log.join('\n')).toMatch(/follows no stream, so its interceptors are never asked/);
  expect(on.node(0).log.join('\n')).not.toMatch(/never asked/);
}, 60_000);
