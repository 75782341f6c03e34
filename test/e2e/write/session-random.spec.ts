import type { HASession } from '../../../lib/write/session.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import { Random } from '../../support/random.js';

const SCHEMA = `
  CREATE TABLE keyed(id INTEGER PRIMARY KEY, v, w UNIQUE);
  CREATE TABLE bag(a, b);
  CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
  CREATE TABLE log(what, n);
  CREATE TRIGGER logged AFTER INSERT ON keyed BEGIN INSERT INTO log VALUES('keyed', new.id); END;
  CREATE TRIGGER unlogged AFTER DELETE ON bag BEGIN DELETE FROM log WHERE n = old.a; END;`;

/** A statement of a user: some fail, some change the schema, some steer the transaction. */
function statement(random: Random, made: number): string {
  const n = random.below(12);
  const name = random.pick(['a', 'B', '"c d"']);
  switch (random.below(20)) {
    case 0:
    case 1:
      return 'BEGIN';
    case 2:
    case 3:
      return 'COMMIT';
    case 4:
      return 'ROLLBACK';
    case 5:
    case 6:
      return `SAVEPOINT ${name}`;
    case 7:
    case 8:
      return `ROLLBACK TO ${name}`;
    case 9:
      return `RELEASE ${name}`;
    case 10:
      return `INSERT INTO keyed VALUES(${n}, ${random.below(100)}, ${random.below(100)})`;
    case 11:
      return `INSERT OR REPLACE INTO keyed VALUES(${n}, 'r', ${random.below(20)})`;
    case 12:
      return `UPDATE keyed SET v = v + 1 WHERE id > ${n}`;
    case 13:
      return `INSERT INTO bag VALUES(${n}, ${random.below(3)}), (${n}, 0)`;
    case 14:
      return `DELETE FROM bag WHERE a = ${n}`;
    case 15:
      return `INSERT INTO counted(v) VALUES(${n})`;
    case 16:
      return `CREATE TABLE made_${made}(x PRIMARY KEY, y DEFAULT ${n})`;
    case 17:
      return `INSERT OR ROLLBACK INTO keyed VALUES(${n}, 'or rollback', ${n})`;
    case 18:
      return `ALTER TABLE bag ADD COLUMN c${made}`;
    default:
      return `SELECT count(*) FROM keyed, bag`;
  }
}

/** Runs random statements, and keeps going where one fails. */
async function live(session: HASession, random: Random, steps: number, failures: Set<string>): Promise<number> {
  let done = 0;
  for (let step = 0; step < steps; step++) {
    const sql = statement(random, step * 10 + random.below(10));
    try {
      await session.execute(sql);
      done++;
    } catch (error) {
      failures.add((error as { code?: string }).code ?? String(error));
    }
  }
  await session.close();
  return done;
}

it.each([1, 2, 3, 4])(
  'sessions that do whatever they like on two nodes leave the same rows on both, and the fold’s (seed %s)',
  async (seed) => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const failures = new Set<string>();
    const lives = [cluster.a, cluster.a, cluster.a, cluster.b, cluster.b, cluster.b].map((db, index) => {
      const session = db.connect({ idleTimeout: 10_000 });
      onCleanup(() => session.close());
      return live(session, new Random(seed * 100 + index), 120, failures);
    });
    const done = await Promise.all(lives);
    expect(Math.min(...done)).toBeGreaterThan(20);
    const known = /^(SQLITE_(ERROR|CONSTRAINT.*)|HA_(TRANSACTION_CONTROL|TRANSACTION_CLOSED|CONFLICT))$/;
    expect([...failures].filter((code) => !known.test(code))).toEqual([]);
    await cluster.settle();
    const fold = await cluster.fold();
    expect({ ...cluster.dump(0) }).toEqual({ ...fold });
    expect({ ...cluster.dump(1) }).toEqual({ ...fold });
    await cluster.a.run(`INSERT INTO log VALUES('the end', 1)`);
  },
  120_000,
);
