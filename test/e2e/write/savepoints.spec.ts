import type { HADatabase } from '../../../lib/write/ha-database.js';
import type { HATransaction } from '../../../lib/write/executor.js';
import { startCluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

type Work = (tx: HATransaction) => Promise<unknown>;
type Outcome = { readonly said: unknown; readonly rows: readonly string[] };

const NO = new Error('no');

/** Something that others wait for. */
function signal(): { readonly given: Promise<void>; give(): void } {
  let give = (): void => undefined;
  const given = new Promise<void>((resolve) => (give = resolve));
  return { given, give };
}

function insert(tx: HATransaction, x: string): Promise<unknown> {
  return tx.run('INSERT INTO t VALUES (?)', [x]);
}

/** A savepoint that writes, waits, and fails. */
function failing(tx: HATransaction, until: Promise<unknown>): Promise<unknown> {
  return tx.savepoint(async (inner) => {
    await insert(inner, 'first');
    await until;
    throw NO;
  });
}

const WAYS: readonly [string, (db: HADatabase, work: Work) => Promise<unknown>][] = [
  ['db.transaction', (db, work) => db.transaction(work)],
  [
    'db.begin',
    async (db, work) => {
      const tx = await db.begin();
      try {
        const result = await work(tx);
        await tx.commit();
        return result;
      } finally {
        await tx.rollback();
      }
    },
  ],
];

const REFUSED: readonly [string, Work][] = [
  [
    'a savepoint inside of another one, which fails',
    async (tx) => {
      const over = signal();
      const first = failing(tx, over.given);
      await tx.savepoint((inner) => insert(inner, 'second'));
      over.give();
      await first.catch(() => undefined);
    },
  ],
  [
    'a statement beside a savepoint that fails',
    async (tx) => {
      const over = signal();
      const first = failing(tx, over.given);
      await insert(tx, 'second');
      over.give();
      await first.catch(() => undefined);
    },
  ],
  [
    'a read beside a savepoint that fails',
    async (tx) => {
      const over = signal();
      const first = failing(tx, over.given);
      const rows = await tx.all('SELECT * FROM t');
      over.give();
      await first.catch(() => undefined);
      if (rows.length > 0) await insert(tx, 'built on what never was');
    },
  ],
  [
    'a savepoint that fails around a statement of the other one',
    async (tx) => {
      const begun = signal();
      const written = signal();
      const first = tx.savepoint(async (inner) => {
        await begun.given;
        await insert(inner, 'first');
        written.give();
      });
      const second = tx.savepoint(async () => {
        begun.give();
        await written.given;
        throw NO;
      });
      await Promise.allSettled([first, second]);
    },
  ],
];

const KEPT: readonly [string, Work, readonly string[]][] = [
  [
    'savepoints in the callbacks of others, also through the tx of the transaction',
    async (tx) => {
      await tx.savepoint(async (outer) => {
        await insert(tx, 'one');
        await failing(tx, Promise.resolve()).catch(() => undefined);
        await outer.savepoint(() => insert(tx, 'two'));
        await insert(outer, 'three');
      });
      await insert(tx, 'four');
    },
    ['four', 'one', 'three', 'two'],
  ],
  [
    'savepoints one after another, of which some fail',
    async (tx) => {
      await failing(tx, Promise.resolve()).catch(() => undefined);
      await insert(tx, 'one');
      await failing(tx, Promise.resolve()).catch(() => undefined);
      await tx.savepoint((inner) => insert(inner, 'two'));
    },
    ['one', 'two'],
  ],
  [
    'a savepoint whose callback does several things at once, and fails',
    async (tx) => {
      const both = tx.savepoint(async (inner) => {
        await Promise.all([insert(inner, 'a'), insert(tx, 'b'), inner.savepoint(() => insert(tx, 'c'))]);
        throw NO;
      });
      await both.catch(() => undefined);
      await insert(tx, 'one');
    },
    ['one'],
  ],
  [
    'others beside a savepoint that does not fail',
    async (tx) => {
      const over = signal();
      const first = tx.savepoint(async (inner) => {
        await insert(inner, 'first');
        await over.given;
      });
      await tx.savepoint((inner) => insert(inner, 'second'));
      await insert(tx, 'third');
      over.give();
      await first;
    },
    ['first', 'second', 'third'],
  ],
];

async function outcomeOf(db: HADatabase, work: () => Promise<unknown>): Promise<Outcome> {
  await db.run('DELETE FROM t');
  const said = await work().then(
    () => 'written',
    (error: { code?: string }) => error.code ?? error,
  );
  const rows = await db.all<{ x: string }>('SELECT x FROM t ORDER BY x');
  return { said, rows: rows.map(({ x }) => x) };
}

async function expectHonest(db: HADatabase): Promise<void> {
  await db.exec('CREATE TABLE t(x TEXT)');
  for (const [way, run] of WAYS) {
    for (const [name, work] of REFUSED) {
      const outcome = await outcomeOf(db, () => run(db, work));
      expect({ way, name, ...outcome }).toEqual({ way, name, said: 'HA_NESTED_TRANSACTION', rows: [] });
    }
    for (const [name, work, rows] of KEPT) {
      expect({ way, name, ...(await outcomeOf(db, () => run(db, work))) }).toEqual({
        way,
        name,
        said: 'written',
        rows,
      });
    }
    expect(await outcomeOf(db, () => run(db, (tx) => failing(tx, Promise.resolve())))).toEqual({ said: NO, rows: [] });
  }
}

describe('what is done at the same time as a savepoint', () => {
  it('is written where its caller was told so, or nothing of the transaction is', async () => {
    const cluster = await startCluster();
    await expectHonest(cluster.a);
    await cluster.expectEqual();
  });

  it('is so at the leader', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const leads = cluster.nodes.findIndex(({ runtime }) => runtime.status().leader?.isLeader === true);
    await expectHonest(cluster.nodes[1 - leads]!.db);
  });
});
