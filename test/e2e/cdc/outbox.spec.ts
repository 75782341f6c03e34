import { CdcMirror } from '../../sim/cdc-mirror.js';
import { TestTarget, registered } from '../../helper/cdc-target.js';
import { startCluster, until } from '../../helper/cluster.js';

const ASYNC = { asyncPublisher: true, publisherTimeout: '2s', generatedIds: 'overwrite' } as const;
const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v); CREATE TABLE r(id INTEGER PRIMARY KEY, u UNIQUE ON CONFLICT REPLACE);
  CREATE TABLE bag(v); CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE trig(id INTEGER PRIMARY KEY, v);
  CREATE TRIGGER before BEFORE UPDATE OF v ON trig WHEN new.v > 0 BEGIN UPDATE trig SET v = -1 WHERE id = old.id; END;
  CREATE TRIGGER gone BEFORE DELETE ON trig BEGIN UPDATE trig SET v = -2 WHERE id = old.id; END;
  INSERT INTO t VALUES(1, 'a', 0), (2, 'b', 0), (3, 'c', 0); INSERT INTO r VALUES(1, 'a'), (2, 'b');
  INSERT INTO w VALUES('k', 0); INSERT INTO bag VALUES(1), (2); INSERT INTO trig VALUES(1, 0), (2, 0)`;

it.each([['on'], ['off']])(
  'tells all that transactions did which waited before there was a target; recursive triggers %s',
  async (recursive) => {
    const query = `_pragma=recursive_triggers(${recursive})`;
    const cluster = await startCluster({ nodes: 1, proxy: true, options: ASYNC, query });
    const { a, proxy } = cluster;
    await a.exec(SCHEMA);
    await until(() => a.status().outbox?.size === 0);
    // What is there already, as a target has it that began in front of all of this.
    const start = new TestTarget();
    const { path } = cluster.node(0);
    await a.close();
    const first = await cluster.add({ path, options: ASYNC, url: proxy?.url, cdc: [registered(start)] });
    await until(() => start.changes.length === 10);
    await first.db.close();
    proxy?.cut();
    const second = await cluster.add({ path, options: ASYNC, url: proxy?.url });
    await second.db.run(`INSERT OR REPLACE INTO t VALUES(1, 'b', 1)`);
    await second.db.run(`INSERT INTO r VALUES(3, 'a')`);
    await second.db.run(`UPDATE OR REPLACE t SET u = 'c' WHERE id = 1`);
    await second.db.run(`REPLACE INTO w VALUES('k', 1)`);
    await second.db.run('UPDATE trig SET v = 5');
    await second.db.run('DELETE FROM trig WHERE id = 1');
    await second.db.run('DELETE FROM bag WHERE v = 1');
    expect(second.db.status().outbox?.size).toBe(7);
    await second.db.close();
    const rest = new TestTarget();
    const never = [registered(rest, { name: 'rest', snapshot: 'never' })];
    const third = await cluster.add({ path, options: ASYNC, url: proxy?.url, cdc: never });
    await until(() => (third.db.status().cdc ?? []).every(({ state }) => state === 'streaming'));
    proxy?.restore();
    await until(() => third.db.status().outbox?.size === 0);
    await until(() => third.db.reader.prepare('SELECT count(*) FROM ha_cdc_log').pluck().get() === 0);
    // Images in front of a change are those that were told last.
    const rows = new Map<string, unknown>();
    for (const { key, value } of [...start.changes, ...rest.changes]) {
      if (key === null) continue;
      const place = `${value.source.table} ${String(Object.values(key)[0])}`;
      expect([place, value.before]).toEqual([place, rows.get(place) ?? null]);
      rows.set(place, value.after);
    }
    const mirror = new CdcMirror();
    mirror.apply([...start.events, ...rest.events]);
    mirror.check('n1', third.db.reader);
    mirror.close();
  },
  60_000,
);
