import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import type { HAInterceptor } from '../../../lib/changeset/interceptor.js';
import type { HAModuleOptions } from '../../../lib/ha-module-options.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, pause, until } from '../../helper/cluster.js';

const PATIENCE = '300ms';

/** Answers nothing any more once it is told to. */
class Stuck implements HAInterceptor {
  readonly name = 'stuck';
  readonly tables = ['t'];
  is = false;
  asked = 0;

  beforeApply(): Promise<void> | undefined {
    if (!this.is) return undefined;
    this.asked++;
    return new Promise(() => undefined);
  }
}

async function start(options: HAModuleOptions, broker = new HATestingBroker()): Promise<TestingModule> {
  const module = HATestingModule.forRoot({ broker, publisherTimeout: PATIENCE, ...options });
  const app = await Test.createTestingModule({ imports: [module] }).compile();
  return app.init();
}

describe('closing ends although an interceptor never answers', () => {
  it.each<[string, HAModuleOptions]>([
    ['alone', {}],
    ['with asyncPublisher', { asyncPublisher: true }],
    ['beside a CDC target', { cdc: [{ target: { deliver: () => undefined }, name: 'x', shutdownTimeout: 100 }] }],
    [
      'beside a CDC target that never answers either',
      { cdc: [{ target: { deliver: () => new Promise(() => undefined) }, name: 'x', shutdownTimeout: 100 }] },
    ],
    [
      'beside a CDC target, with asyncPublisher',
      { asyncPublisher: true, cdc: [{ target: { deliver: () => undefined }, name: 'x', snapshot: 'never' }] },
    ],
  ])('%s', async (_name, options) => {
    const broker = new HATestingBroker();
    const stuck = new Stuck();
    const app = await start({ ...options, name: 'stuck', interceptors: [stuck] }, broker);
    const db = app.get(HADatabase);
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(id)');
    stuck.is = true;
    const stored: number[] = [];
    const write = async (table: string, id: number): Promise<void> => {
      try {
        await db.run(`INSERT INTO ${table}(id) VALUES(?)`, [id]);
        stored.push(id);
      } catch (error) {
        expect(error).toMatchObject({ code: 'HA_UNAVAILABLE' });
      }
    };
    const writes = [write('t', 1)];
    await until(() => stuck.asked > 0);
    // Behind what waits, and for its turn.
    writes.push(write('log', 2), write('t', 3));
    await pause(20);
    await app.close();
    expect(db.status().state).toBe('closed');
    await Promise.all(writes);
    // What was answered is in the stream, and nothing else.
    const other = await start({ name: 'other' }, broker);
    onCleanup(() => other.close());
    const rows = await other.get(HADatabase).prepare('SELECT id FROM t UNION ALL SELECT id FROM log').pluck().all();
    expect(new Set(rows)).toEqual(new Set(stored));
  });

  it('while the database is being started', async () => {
    const broker = new HATestingBroker();
    const one = await start({ name: 'one' }, broker);
    await one.get(HADatabase).exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)');
    const stuck = new Stuck();
    stuck.is = true;
    const two = await start({ name: 'two', interceptors: [stuck], autoStart: false }, broker);
    const starting = failureOf(two.get(HADatabase).start());
    await until(() => stuck.asked > 0);
    await two.close();
    expect((await starting).code).toBe('HA_UNAVAILABLE');
    await one.close();
  });

  it('and a stop; what was not applied is asked about again', async () => {
    const stuck = new Stuck();
    const app = await start({ interceptors: [stuck] });
    const db = app.get(HADatabase);
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    stuck.is = true;
    const write = db.run('INSERT INTO t VALUES(1, 1)').catch(() => undefined);
    await until(() => stuck.asked > 0);
    await db.stop();
    await write;
    stuck.is = false;
    await db.start();
    expect(db.status().state).toBe('running');
    await app.close();
  });
});
