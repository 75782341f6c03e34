import createKnex from 'knex';
import { Kysely } from 'kysely';
import { haKnexClient } from '../../../lib/orm/knex.js';
import { HAKyselyDialect } from '../../../lib/orm/kysely.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { onCleanup, startCluster, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

interface Tables {
  t: { id?: number; x: string };
}

type Between = () => Promise<unknown>;
type Work = (db: HADatabase, between: Between) => Promise<unknown>;

const ONE = "INSERT INTO t(x) VALUES ('1')";
const TWO = "INSERT INTO t(x) VALUES ('2')";

const WAYS: readonly [string, Work][] = [
  [
    'db.transaction',
    (db, between) =>
      db.transaction(async (tx) => {
        await tx.run(ONE);
        await between();
        await tx.run(TWO);
      }),
  ],
  [
    'db.begin',
    async (db, between) => {
      const tx = await db.begin();
      await tx.run(ONE);
      await between();
      await tx.run(TWO);
      await tx.commit();
    },
  ],
  [
    'a session',
    async (db, between) => {
      const session = db.connect();
      try {
        await session.execute('BEGIN');
        await session.execute(ONE);
        await between();
        await session.execute('SAVEPOINT s');
        await session.execute(TWO);
        await session.execute('RELEASE s');
        await session.script('SELECT 1; SELECT 2');
        await session.execute('COMMIT');
      } finally {
        await session.close();
      }
    },
  ],
  [
    'Kysely',
    (db, between) =>
      new Kysely<Tables>({ dialect: new HAKyselyDialect(db) }).transaction().execute(async (tx) => {
        await tx.insertInto('t').values({ x: '1' }).execute();
        await between();
        await tx.insertInto('t').values({ x: '2' }).execute();
      }),
  ],
  [
    'Knex',
    (db, between) => {
      const knex = createKnex({ client: haKnexClient(db), useNullAsDefault: true });
      onCleanup(() => knex.destroy());
      return knex.transaction(async (tx) => {
        await tx('t').insert({ x: '1' });
        await between();
        await tx('t').insert({ x: '2' });
      });
    },
  ],
];

async function clusterWithTable(): Promise<Cluster> {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)');
  await cluster.settle();
  return cluster;
}

describe('a transaction that is open when its database is stopped', () => {
  it.each(WAYS)('goes on to its end, for which stop() waits: %s', async (_name, work) => {
    const cluster = await clusterWithTable();
    const { a } = cluster;
    let stopped: Promise<void> | undefined;
    let isStopped = false;
    await work(a, async () => {
      stopped = a.stop().then(() => void (isStopped = true));
      await until(() => cluster.nodes[0]?.runtime.open?.committer.closing !== undefined);
      expect(isStopped).toBe(false);
    });
    await stopped;
    expect(a.status().state).toBe('stopped');
    await a.start();
    expect((await a.all<{ x: string }>('SELECT x FROM t')).map(({ x }) => x)).toEqual(['1', '2']);
    await cluster.expectEqual();
  });

  it.each(WAYS.slice(1))('goes on also on a follower: %s', async (_name, work) => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const { db, runtime } = cluster.follower;
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)');
    let stopped: Promise<void> | undefined;
    await work(db, async () => {
      stopped = db.stop();
      await until(() => runtime.open?.committer.closing !== undefined);
    });
    await stopped;
    await db.start();
    await cluster.expectEqual();
    expect((await db.all<{ x: string }>('SELECT x FROM t')).map(({ x }) => x)).toEqual(['1', '2']);
  });

  it('is ended where it goes on and on', async () => {
    const { a } = await clusterWithTable();
    const session = a.connect({ idleTimeout: 200 });
    onCleanup(() => session.close());
    await session.execute('BEGIN');
    const endless = async (): Promise<void> => {
      for (;;) await session.execute(ONE).then(() => new Promise((resolve) => setTimeout(resolve, 5)));
    };
    const running = endless().catch((error: { code?: string }) => error.code);
    await a.stop();
    expect(await running).toBe('HA_UNAVAILABLE');
    expect((await session.execute('ROLLBACK')).reader).toBe(false);
    await a.start();
    expect(await a.all('SELECT * FROM t')).toEqual([]);
  });

  it('is the last one: no other begins', async () => {
    const { a, nodes } = await clusterWithTable();
    const session = a.connect();
    onCleanup(() => session.close());
    await session.execute('BEGIN');
    const stopped = a.stop();
    await until(() => nodes[0]?.runtime.open?.committer.closing !== undefined);
    const codes = [a.connect().execute('BEGIN'), a.begin(), a.transaction(() => 1)].map((call) =>
      call.then(
        () => 'begun',
        (error: { code?: string }) => error.code,
      ),
    );
    expect(await Promise.all(codes)).toEqual(['HA_UNAVAILABLE', 'HA_UNAVAILABLE', 'HA_UNAVAILABLE']);
    await session.execute(ONE);
    await session.execute('COMMIT');
    await stopped;
    await a.start();
    expect(await a.all('SELECT x FROM t')).toEqual([{ x: '1' }]);
  });
});
