import BetterSqlite3 from 'better-sqlite3';
import { describeInEveryIdentity, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

const BOTH = 'ON UPDATE CASCADE ON DELETE CASCADE';
const SCHEMA = `
  CREATE TABLE bag(u UNIQUE, p REFERENCES bag(u) ${BOTH});
  CREATE TABLE nulls(u UNIQUE, p REFERENCES nulls(u) ON UPDATE SET NULL ON DELETE SET NULL, g AS (u || '!') STORED);
  CREATE TABLE defaults(u UNIQUE, p DEFAULT 'none' REFERENCES defaults(u) ON UPDATE SET DEFAULT ON DELETE SET DEFAULT);
  CREATE TABLE ids(u INTEGER PRIMARY KEY, p REFERENCES ids(u) ${BOTH});
  CREATE TABLE names(u TEXT PRIMARY KEY, p REFERENCES names(u) ${BOTH}) WITHOUT ROWID;
  CREATE TABLE touched(u UNIQUE, p REFERENCES touched(u) ${BOTH}, n);
  CREATE TRIGGER touch AFTER UPDATE OF p ON touched BEGIN UPDATE touched SET n = n + 1 WHERE u = NEW.u; END;
  CREATE TRIGGER touch_before BEFORE UPDATE OF u ON touched BEGIN UPDATE touched SET n = n + 10 WHERE u = OLD.u; END;
  CREATE TABLE parent(u INTEGER PRIMARY KEY, v);
  CREATE TABLE child(p REFERENCES parent(u) ${BOTH});
  CREATE TRIGGER refill AFTER UPDATE ON child BEGIN INSERT INTO parent VALUES(OLD.p, 'refilled'); END;
  CREATE TRIGGER remake AFTER DELETE ON child BEGIN INSERT INTO parent VALUES(OLD.p, 'made anew'); END;
  CREATE TABLE named(u TEXT PRIMARY KEY NOT NULL, v);
  CREATE TABLE follower(p REFERENCES named(u) ${BOTH});
  CREATE TRIGGER rename AFTER UPDATE ON follower BEGIN INSERT INTO named VALUES(OLD.p, 'refilled'); END;
  CREATE TRIGGER again AFTER DELETE ON follower BEGIN INSERT INTO named VALUES(OLD.p, 'made anew'); END;`;

const STATEMENTS = [
  "INSERT INTO bag VALUES('two', 'two'), ('one', 'two'), ('zero', NULL)",
  "UPDATE bag SET u = 'new' WHERE u = 'two'",
  "UPDATE OR REPLACE bag SET u = 'zero' WHERE u = 'new'",
  "INSERT INTO nulls VALUES('two', 'two'), ('one', 'two')",
  "UPDATE nulls SET u = 'new' WHERE u = 'two'",
  "INSERT INTO defaults VALUES('none', NULL), ('two', 'two'), ('one', 'two')",
  "UPDATE defaults SET u = 'new' WHERE u = 'two'",
  'INSERT INTO ids VALUES(1, 1), (2, 1)',
  'UPDATE ids SET u = 5 WHERE u = 1',
  "INSERT INTO names VALUES('two', 'two'), ('one', 'two')",
  "UPDATE names SET u = 'new' WHERE u = 'two'",
  "INSERT INTO touched VALUES('two', 'two', 0), ('one', 'two', 0)",
  "UPDATE touched SET u = 'new' WHERE u = 'two'",
  "INSERT INTO parent VALUES(1, 'first'), (2, 'second')",
  'INSERT INTO child VALUES(1)',
  'UPDATE parent SET u = 7 WHERE u = 1',
  'DELETE FROM parent WHERE u = 7',
  "INSERT INTO named VALUES('a', 'first'), ('b', 'second')",
  "INSERT INTO follower VALUES('a')",
  "UPDATE named SET u = 'c' WHERE u = 'a'",
  "DELETE FROM named WHERE u = 'c'",
  "DELETE FROM bag WHERE u = 'zero'",
  "DELETE FROM nulls WHERE u = 'new'",
  "DELETE FROM defaults WHERE u = 'new'",
];

const TABLES = ['bag', 'nulls', 'defaults', 'ids', 'names', 'touched', 'parent', 'child', 'named', 'follower'];
const select = (table: string): string => `SELECT * FROM ${table} ORDER BY 1`;

async function expectPlain(cluster: Cluster, plain: BetterSqlite3.Database, sql: string): Promise<void> {
  await cluster.settle();
  for (const table of TABLES) {
    const expected = { sql, table, rows: plain.prepare(select(table)).all() };
    for (const db of [cluster.a, cluster.b])
      expect({ sql, table, rows: await db.all(select(table)) }).toEqual(expected);
  }
}

describeInEveryIdentity('foreign key actions that come back to the row that caused them', () => {
  it.each([false, true])('leave what plain SQLite leaves, with asyncPublisher=%s', async (asyncPublisher) => {
    const cluster = await startCluster({ query: '_foreign_keys=on', options: { asyncPublisher } });
    const plain = new BetterSqlite3(':memory:');
    plain.pragma('foreign_keys = ON');
    plain.exec(SCHEMA);
    await cluster.a.exec(SCHEMA);
    for (const sql of STATEMENTS) {
      plain.exec(sql);
      await cluster.a.exec(sql);
      await expectPlain(cluster, plain, sql);
    }
    await cluster.expectEqual();
    plain.close();
  });
});
