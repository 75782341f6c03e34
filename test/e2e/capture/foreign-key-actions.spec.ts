import { failureOf, startCluster } from '../../helper/cluster.js';

const query = '_foreign_keys=on';
const ACTIONS = ['CASCADE', 'SET NULL', 'SET DEFAULT', 'RESTRICT', 'NO ACTION'] as const;
const TIMES = ['', ' DEFERRABLE INITIALLY DEFERRED'] as const;

type Action = (typeof ACTIONS)[number];

/** What a child points to behind the change of its parent 1; undefined where the child is gone. */
function pointsTo(action: Action, event: 'DELETE' | 'UPDATE'): number | null | undefined {
  if (action === 'SET NULL') return null;
  if (action === 'SET DEFAULT') return 9;
  return event === 'UPDATE' ? 5 : undefined;
}

describe.each(ACTIONS.flatMap((action) => TIMES.map((time) => ({ action, time }))))(
  'foreign keys: $action$time',
  ({ action, time }) => {
    it.each(['DELETE', 'UPDATE'] as const)('ON %s, for children of every kind of table', async (event) => {
      const cluster = await startCluster({ query });
      const reference = `REFERENCES p(id) ON ${event} ${action}${time}`;
      await cluster.a.exec(`
        CREATE TABLE p(id INTEGER PRIMARY KEY, v);
        CREATE TABLE c(id INTEGER PRIMARY KEY, p INT DEFAULT 9 ${reference});
        CREATE TABLE k(a TEXT, p INT DEFAULT 9 ${reference}, PRIMARY KEY(a)) WITHOUT ROWID;
        CREATE TABLE bag(p INT DEFAULT 9 ${reference});
        INSERT INTO p VALUES(1, 'a'), (2, 'b'), (9, 'default');
        INSERT INTO c VALUES(10, 1), (20, 2), (30, NULL); INSERT INTO k VALUES('x', 1), ('y', 2);
        INSERT INTO bag VALUES(1), (1), (2), (NULL);`);
      await cluster.settle();
      const change = event === 'DELETE' ? 'DELETE FROM p WHERE id = 1' : 'UPDATE p SET id = 5 WHERE id = 1';
      const refuses = action === 'RESTRICT' || action === 'NO ACTION';
      if (refuses) {
        const before = await cluster.lastSequence();
        expect((await failureOf(cluster.b.run(change))).code).toMatch(/^SQLITE_CONSTRAINT_(FOREIGNKEY|TRIGGER)$/);
        expect(await cluster.lastSequence()).toBe(before);
        await cluster.b.exec('DELETE FROM c WHERE p = 1; DELETE FROM k WHERE p = 1; DELETE FROM bag WHERE p = 1');
      }
      await cluster.b.run(change);
      await cluster.expectEqual();
      const now = refuses ? undefined : pointsTo(action, event);
      const kept = (rows: unknown[][]): unknown[][] => rows.filter((row) => !row.includes(undefined));
      const read = (sql: string): Promise<unknown[]> => cluster.a.prepare(sql).raw().all();
      expect(await read('SELECT id, p FROM c ORDER BY id')).toEqual(
        kept([
          [10, now],
          [20, 2],
          [30, null],
        ]),
      );
      expect(await read('SELECT a, p FROM k ORDER BY a')).toEqual(
        kept([
          ['x', now],
          ['y', 2],
        ]),
      );
      expect(await read('SELECT p FROM bag ORDER BY rowid')).toEqual(kept([[now], [now], [2], [null]]));
      expect(await read('SELECT id FROM p ORDER BY id')).toEqual(event === 'DELETE' ? [[2], [9]] : [[2], [5], [9]]);
    });

    it('holds for both at once in one transaction that repairs what it breaks, or does not', async () => {
      const cluster = await startCluster({ query });
      await cluster.a.exec(`
        CREATE TABLE p(id INTEGER PRIMARY KEY);
        CREATE TABLE c(id INTEGER PRIMARY KEY, p INT DEFAULT 9 REFERENCES p(id) ON DELETE ${action} ON UPDATE ${action}${time});
        INSERT INTO p VALUES(1), (9); INSERT INTO c VALUES(10, 1);`);
      const before = await cluster.lastSequence();
      const broken = failureOf(cluster.a.exec('INSERT INTO c VALUES(11, 77); INSERT INTO p VALUES(78)'));
      expect((await broken).code).toMatch(/^SQLITE_CONSTRAINT/);
      expect(await cluster.lastSequence()).toBe(before);
      const repaired = cluster.a.exec('INSERT INTO c VALUES(12, 78); INSERT INTO p VALUES(78)');
      if (time === '') expect((await failureOf(repaired)).code).toBe('SQLITE_CONSTRAINT_FOREIGNKEY');
      else await repaired;
      await cluster.a.transaction(async (tx) => {
        await tx.run('PRAGMA defer_foreign_keys = ON');
        await tx.run('INSERT INTO c VALUES(13, 79)');
        await tx.run('INSERT INTO p VALUES(79)');
      });
      await cluster.expectEqual();
      expect(await cluster.b.prepare('SELECT id, p FROM c ORDER BY id').raw().all()).toEqual(
        time === ''
          ? [
              [10, 1],
              [13, 79],
            ]
          : [
              [10, 1],
              [12, 78],
              [13, 79],
            ],
      );
    });
  },
);
