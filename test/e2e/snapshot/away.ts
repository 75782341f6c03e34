import { createHash } from 'node:crypto';
import { connect } from 'nats';
import type { Cluster } from '../../helper/cluster.js';
import { startCluster, until } from '../../helper/cluster.js';

export interface AwaySettings {
  readonly rounds: number;
  readonly print: (line: string) => void;
}

const MAX_AGE_MS = 1_500;

/**
 * A node stays away for longer than the stream remembers, and comes back; again and again. Each time it has to come back by
 * itself, with what the others have.
 *
 * @returns How many times it did.
 */
export async function roundsAway({ rounds, print }: AwaySettings): Promise<number> {
  const options = { streamMaxAge: MAX_AGE_MS, snapshotInterval: 300 };
  const cluster = await startCluster({ nodes: 2, options });
  await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v);
    CREATE TABLE log(n INTEGER PRIMARY KEY AUTOINCREMENT, v)`);
  await cluster.settle();
  for (let round = 1; round <= rounds; round++) {
    const { db, events } = cluster.node(1);
    await db.stop();
    events.length = 0;
    await write(cluster, round);
    await trimmed(cluster, round);
    const stored = Number(cluster.a.position().received);
    await until(() => Number(cluster.a.status().snapshot?.sequence ?? 0n) >= stored, 30_000);
    await write(cluster, round + 0.5);
    await db.start();
    await db.run('INSERT INTO bag VALUES(?)', [`of b, round ${round}`]);
    await cluster.a.run('DELETE FROM bag WHERE v = ?', [`of b, round ${round - 3}`]);
    await cluster.settle();
    const [a, b] = [checksum(cluster, 0), checksum(cluster, 1)];
    const restored = events.some((event) => event.type === 'snapshot' && event.action === 'restored');
    print(`round ${round}: ${a} ${a === b ? '=' : '≠'} ${b}${restored ? '' : ', without a snapshot'}`);
    if (a !== b) throw new Error(`Round ${round}: the nodes differ.`);
    if (!restored) throw new Error(`Round ${round}: the node came back without a snapshot.`);
  }
  return rounds;
}

async function write({ a }: Cluster, round: number): Promise<void> {
  for (let n = 0; n < 5; n++) {
    await a.transaction(async (tx) => {
      await tx.run('INSERT OR REPLACE INTO t VALUES(?, ?)', [((round * 7 + n) % 40) | 0, `round ${round}`]);
      await tx.run('INSERT INTO bag VALUES(?)', [n % 2]);
      await tx.run('DELETE FROM bag WHERE rowid = (SELECT min(rowid) FROM bag)');
      await tx.run('INSERT INTO log(v) VALUES(?)', [n]);
      await tx.run('DELETE FROM log WHERE n < (SELECT max(n) FROM log) - 20');
    });
  }
}

/** Waits until the stream has forgotten what was written last. */
async function trimmed(cluster: Cluster, round: number): Promise<void> {
  const nc = await connect({ servers: cluster.url });
  try {
    const manager = await nc.jetstreamManager();
    const last = Number(cluster.a.position().received);
    await until(async () => (await manager.streams.info(cluster.stream)).state.first_seq > last - 1, 30_000);
  } catch (error) {
    throw new Error(`Round ${round}: the stream forgets nothing.`, { cause: error });
  } finally {
    await nc.close();
  }
}

function checksum(cluster: Cluster, index: number): string {
  return createHash('sha256')
    .update(JSON.stringify(cluster.dump(index)))
    .digest('hex')
    .slice(0, 16);
}
