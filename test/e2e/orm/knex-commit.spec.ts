import createKnex from 'knex';
import type { Knex } from 'knex';
import { Model } from 'objection';
import { isRetryable } from '../../../lib/common/retryable.js';
import { haKnexClient } from '../../../lib/orm/knex.js';
import type { HAKnexOptions } from '../../../lib/orm/knex.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, pause, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

function over(db: HADatabase, options?: HAKnexOptions): Knex {
  const knex = createKnex({ client: haKnexClient(db, options), useNullAsDefault: true });
  onCleanup(() => void knex.destroy());
  return knex;
}

async function made(options?: HAKnexOptions): Promise<{ cluster: Cluster; knex: Knex }> {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE u(id INTEGER PRIMARY KEY, x TEXT)');
  await cluster.settle();
  return { cluster, knex: over(cluster.a, options) };
}

/** Another node writes the row that this one has yet to commit. */
const otherComesFirst = ({ b }: Cluster): Promise<unknown> => b.run("INSERT INTO u(x) VALUES ('other')");

async function expectOnlyOther(cluster: Cluster, knex: Knex): Promise<void> {
  await cluster.settle();
  expect(await knex('u').pluck('x')).toEqual(['other']);
  await cluster.expectEqual();
}

/** Rejections that nobody heard of while something ran. */
async function unheard(work: () => Promise<void>): Promise<unknown[]> {
  const reasons: unknown[] = [];
  const note = (reason: unknown): void => void reasons.push(reason);
  process.on('unhandledRejection', note);
  try {
    await work();
    await pause(50);
  } finally {
    process.off('unhandledRejection', note);
  }
  return reasons;
}

describe('a Knex transaction without callback whose COMMIT fails', () => {
  it('says so to who awaits trx.commit()', async () => {
    const { cluster, knex } = await made();
    const trx = await knex.transaction();
    await trx('u').insert({ x: 'mine' });
    await otherComesFirst(cluster);
    const failure = await failureOf(Promise.resolve(trx.commit()));
    expect(failure).toMatchObject({ code: 'SQLITE_BUSY' });
    expect(isRetryable(failure)).toBe(true);
    expect(trx.isCompleted()).toBe(true);
    await trx.rollback();
    await expectOnlyOther(cluster, knex);
  });

  it('says so again where commit() is called again', async () => {
    const { cluster, knex } = await made();
    const trx = await knex.transaction();
    await trx('u').insert({ x: 'mine' });
    await otherComesFirst(cluster);
    const ended = await Promise.allSettled([trx.commit(), trx.commit()]);
    expect(ended.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await failureOf(Promise.resolve(trx.commit()))).toMatchObject({ code: 'SQLITE_BUSY' });
    await expectOnlyOther(cluster, knex);
  });

  it('says so with transactionProvider()', async () => {
    const { cluster, knex } = await made();
    const trx = await knex.transactionProvider()();
    await trx('u').insert({ x: 'mine' });
    await otherComesFirst(cluster);
    expect(await failureOf(Promise.resolve(trx.commit()))).toMatchObject({ code: 'SQLITE_BUSY' });
    await expectOnlyOther(cluster, knex);
  });

  it('says so in Objection, with Model.startTransaction()', async () => {
    const { cluster, knex } = await made();
    class U extends Model {
      static override readonly tableName = 'u';
      declare id: number;
      declare x: string;
    }
    U.knex(knex);
    const trx = await U.startTransaction();
    await U.query(trx).insert({ x: 'mine' });
    await otherComesFirst(cluster);
    expect((await failureOf(Promise.resolve(trx.commit()))).message).toMatch(/nothing was written/);
    await expectOnlyOther(cluster, knex);
  });

  it('says so where the idle limit has rolled it back', async () => {
    const { knex } = await made({ idleTimeout: 600 });
    const trx = await knex.transaction();
    const nested = await trx.transaction();
    await nested('u').insert({ x: 'mine' });
    await pause(1_500);
    expect((await failureOf(Promise.resolve(nested.commit()))).message).toMatch(/rolled back/);
    expect((await failureOf(Promise.resolve(trx.commit()))).message).toMatch(/rolled back/);
    expect(await knex('u').pluck('x')).toEqual([]);
  });

  it('tells the promise of the transaction, and no process of a rejection that nobody awaits', async () => {
    const { cluster, knex } = await made();
    const reasons = await unheard(async () => {
      const trx = await knex.transaction();
      await trx('u').insert({ x: 'mine' });
      await otherComesFirst(cluster);
      void trx.commit();
      expect(await failureOf(trx.executionPromise)).toMatchObject({ code: 'SQLITE_BUSY' });
    });
    expect(reasons).toEqual([]);
    await expectOnlyOther(cluster, knex);
  });

  it('counts as many commits as there are rows', async () => {
    const { cluster, knex } = await made();
    const nodes = [knex, over(cluster.b)];
    let committed = 0;
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        nodes.map(async (node) => {
          const trx = await node.transaction();
          try {
            await trx('u').insert({ x: 'x' });
            await trx.commit();
            committed++;
          } catch {
            await trx.rollback();
          }
        }),
      );
    }
    await cluster.settle();
    expect(await knex('u').count({ n: '*' })).toEqual([{ n: committed }]);
    await cluster.expectEqual();
  });
});

describe('a Knex transaction with a callback', () => {
  it('fails once where its COMMIT does', async () => {
    const { cluster, knex } = await made();
    const reasons = await unheard(async () => {
      const ran = knex.transaction(async (trx) => {
        await trx('u').insert({ x: 'mine' });
        await otherComesFirst(cluster);
      });
      expect(await failureOf(ran)).toMatchObject({ code: 'SQLITE_BUSY' });
    });
    expect(reasons).toEqual([]);
    await expectOnlyOther(cluster, knex);
  });

  it('fails also where the callback commits by itself, and keeps to itself how that went', async () => {
    const { cluster, knex } = await made();
    const reasons = await unheard(async () => {
      const ran = knex.transaction(async (trx) => {
        await trx('u').insert({ x: 'mine' });
        await otherComesFirst(cluster);
        await Promise.resolve(trx.commit()).catch(() => undefined);
      });
      expect(await failureOf(ran)).toMatchObject({ code: 'SQLITE_BUSY' });
    });
    expect(reasons).toEqual([]);
    await expectOnlyOther(cluster, knex);
  });

  it('gives the value of the commit() that its callback calls, awaited or not', async () => {
    const { cluster, knex } = await made();
    const awaited = await knex.transaction(async (trx) => {
      await trx('u').insert({ x: 'a' });
      await trx.commit('awaited');
    });
    const notAwaited = await knex.transaction(async (trx) => {
      await trx('u').insert({ x: 'b' });
      void trx.commit('not awaited');
    });
    expect([awaited, notAwaited]).toEqual(['awaited', 'not awaited']);
    expect(await knex('u').pluck('x')).toEqual(['a', 'b']);
    await cluster.expectEqual();
  });

  it('may be rolled back by its callback', async () => {
    const { knex } = await made();
    const reasons = await unheard(async () => {
      await knex.transaction(async (trx) => {
        await trx('u').insert({ x: 'a' });
        await trx.rollback();
      });
    });
    expect(reasons).toEqual([]);
    expect(await knex('u').pluck('x')).toEqual([]);
  });
});

describe('a Knex transaction', () => {
  it('does not say that it committed what was rolled back', async () => {
    const { knex } = await made();
    const trx = await knex.transaction();
    await trx('u').insert({ x: 'a' });
    await trx.rollback();
    expect((await failureOf(Promise.resolve(trx.commit()))).message).toMatch(/already complete/);
    expect(await knex('u').pluck('x')).toEqual([]);
  });

  it('that cannot begin says so, and its callback does not run', async () => {
    const { cluster, knex } = await made();
    await cluster.a.stop();
    let ran = false;
    const reasons = await unheard(async () => {
      expect(await failureOf(knex.transaction())).toMatchObject({ code: 'HA_UNAVAILABLE' });
      const refused = knex.transaction(async () => {
        ran = true;
        return Promise.resolve();
      });
      expect(await failureOf(refused)).toMatchObject({ code: 'HA_UNAVAILABLE' });
    });
    expect([ran, reasons]).toEqual([false, []]);
  });
});
