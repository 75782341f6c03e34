import { isRetryable } from '../../../lib/common/retryable.js';
import { HAError } from '../../../lib/common/ha-error.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

/** A transaction whose statements come one by one. */
interface Steps {
  insert(x: string): Promise<unknown>;
  commit(): Promise<unknown>;
  rollback(): Promise<unknown>;
}

const INSERT = 'INSERT INTO t(x) VALUES (?)';

const WAYS: readonly [string, (db: HADatabase) => Promise<Steps>][] = [
  [
    'a session',
    async (db) => {
      const session = db.connect();
      onCleanup(() => session.close());
      await session.execute('BEGIN');
      return {
        insert: (x) => session.execute(INSERT, [x]),
        commit: () => session.execute('COMMIT'),
        rollback: () => session.execute('ROLLBACK'),
      };
    },
  ],
  [
    'db.begin',
    async (db) => {
      const tx = await db.begin();
      return { insert: (x) => tx.run(INSERT, [x]), commit: () => tx.commit(), rollback: () => tx.rollback() };
    },
  ],
];

describe('a leader that is stopped amid a transaction of a follower', () => {
  it.each(WAYS)('ends it with an error after which it can run again: %s', async (_name, begin) => {
    const cluster = await LeaderCluster.start({ nodes: 3, options: { transactionTimeout: 300 } });
    const leader = await cluster.elected();
    const { db } = cluster.follower;
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)');
    const steps = await begin(db);
    await steps.insert('1');
    await leader.db.stop();
    const error = await failureOf(steps.insert('2'));
    expect(error).toBeInstanceOf(HAError);
    expect({ code: error.code, retryable: isRetryable(error) }).toEqual({ code: 'HA_LEADER_CHANGED', retryable: true });
    expect(error.message).not.toMatch(/db\.start\(\)/);
    await steps.rollback();
    const again = await begin(db);
    await again.insert('again');
    await again.commit();
    expect(await db.all('SELECT x FROM t')).toEqual([{ x: 'again' }]);
  });

  it.each(WAYS)('waits for it: %s', async (_name, begin) => {
    const cluster = await LeaderCluster.start({ nodes: 3 });
    const leader = await cluster.elected();
    const { db } = cluster.follower;
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)');
    const steps = await begin(db);
    await steps.insert('1');
    const stopped = leader.db.stop();
    await steps.insert('2');
    await steps.commit();
    await stopped;
    expect(await db.all('SELECT x FROM t')).toEqual([{ x: '1' }, { x: '2' }]);
  });
});
