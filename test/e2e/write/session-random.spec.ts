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

/** A statement inside a transaction, mostly: some fail, some change the schema. */
function statement(random: Random, made: string): string {
  const n = random.below(12);
  const name = random.pick(['a', 'B', '"c d"']);
  switch (random.below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return `SAVEPOINT ${name}`;
    case 4:
    case 5:
    case 6:
      return `ROLLBACK TO ${name}`;
    case 7:
      return `RELEASE ${name}`;
    case 8:
    case 9:
      return `INSERT INTO keyed VALUES(${random.below(10_000)}, ${random.below(100)}, NULL)`;
    case 10:
      return `INSERT OR REPLACE INTO keyed VALUES(${n}, 'r', ${random.below(20)})`;
    case 11:
      return `UPDATE keyed SET v = v + 1 WHERE id > ${n}`;
    case 12:
    case 13:
    case 14:
      return `INSERT INTO bag(a, b) VALUES(${n}, ${random.below(3)}), (${n}, 0)`;
    case 15:
      return `DELETE FROM bag WHERE a = ${n}`;
    case 16:
      return random.below(4) === 0 ? `INSERT INTO counted(v) VALUES(${n})` : `UPDATE bag SET b = ${n} WHERE a = ${n}`;
    case 17:
      return random.below(8) === 0 ? `CREATE TABLE made_${made}(x PRIMARY KEY, y DEFAULT ${n})` : 'SELECT 1';
    case 18:
      return random.below(4) === 0 ? `INSERT OR ROLLBACK INTO keyed VALUES(${n}, 'or rollback', 1)` : 'BEGIN';
    default:
      return `SELECT count(*) FROM keyed, bag`;
  }
}

/** Transactions of a few statements, and statements between them; not each is ended. */
function script(random: Random, rounds: number): string[] {
  return Array.from({ length: rounds }, (_round, round) => [
    ...(random.below(4) === 0 ? [] : ['BEGIN']),
    ...Array.from({ length: 3 + random.below(9) }, (_step, step) =>
      statement(random, `${random.seed}_${round}_${step}`),
    ),
    random.pick(['COMMIT', 'COMMIT', 'COMMIT', 'END', 'ROLLBACK', 'SELECT 2']),
  ]).flat();
}

/** Runs random statements, and keeps going where one fails. */
async function live(session: HASession, statements: readonly string[], failures: Set<string>): Promise<number> {
  let done = 0;
  for (const sql of statements) {
    try {
      await session.execute(sql);
      done++;
    } catch (error) {
      const { code = String(error), cause } = error as Error & { code?: string };
      if (code !== 'SQLITE_BUSY' || (cause as { code?: string }).code !== 'HA_CONFLICT') failures.add(code);
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
      return live(session, script(new Random(seed * 100 + index), 25), failures);
    });
    const done = await Promise.all(lives);
    expect(Math.min(...done)).toBeGreaterThan(20);
    const known = /^(SQLITE_(ERROR|CONSTRAINT.*)|HA_(TRANSACTION_CONTROL|TRANSACTION_CLOSED))$/;
    expect([...failures].filter((code) => !known.test(code))).toEqual([]);
    await cluster.settle();
    const fold = await cluster.fold();
    expect({ ...cluster.dump(0) }).toEqual({ ...fold });
    expect({ ...cluster.dump(1) }).toEqual({ ...fold });
    await cluster.a.run(`INSERT INTO log VALUES('the end', 1)`);
  },
  120_000,
);
