import { existsSync } from 'node:fs';
import { Body, Controller, Injectable, Module, Post } from '@nestjs/common';
import type {
  BeforeApplicationShutdown,
  OnApplicationBootstrap,
  OnApplicationShutdown,
  OnModuleDestroy,
  OnModuleInit,
  Type,
} from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { InjectHA } from '../../../lib/common/inject-ha.js';
import { partToken } from '../../../lib/common/tokens.js';
import type { HARuntime } from '../../../lib/ha-runtime.js';
import { HAModule } from '../../../lib/ha.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { collect, failureOf, onCleanup, pause, startCluster, temporaryFolder } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

@Injectable()
class Migrating implements OnModuleInit {
  constructor(@InjectHA() readonly db: HADatabase) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec('CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)');
    await this.db.run(`INSERT INTO t(v) VALUES('init')`);
  }
}

@Module({ providers: [Migrating], exports: [Migrating] })
class Feature {}

function dsnOf(cluster: Cluster, path: string, options = ''): string {
  return `file:${path}?name=app&replicationID=db&replicationStream=${cluster.stream}&replicationURL=${cluster.url}${options}`;
}

async function compile(metadata: Parameters<typeof Test.createTestingModule>[0], log: string[] = []) {
  const module = await Test.createTestingModule(metadata).setLogger(collect(log)).compile();
  const app = module.createNestApplication();
  onCleanup(() => app.close());
  return app;
}

describe('start', () => {
  it('opens and contacts nothing while modules are built, nor at all with autoStart=false', async () => {
    const path = `${temporaryFolder()}/a.db`;
    const dsn = `file:${path}?replicationURL=nats://127.0.0.1:1`;
    const app = await compile({ imports: [HAModule.forRoot(dsn, { retryAttempts: 0 })] });
    expect(existsSync(path)).toBe(false);
    expect(app.get(HADatabase).status().state).toBe('stopped');
    await expect(app.init()).rejects.toMatchObject({ code: 'HA_STREAM_CONNECT' });
    await app.close();

    const other = `${temporaryFolder()}/b.db`;
    const manual = await compile({
      imports: [HAModule.forRoot(`file:${other}?autoStart=false&replicationURL=nats://127.0.0.1:1`)],
    });
    await manual.init();
    expect(existsSync(other)).toBe(false);
    expect((await failureOf(manual.get(HADatabase).run('SELECT 1'))).code).toBe('HA_UNAVAILABLE');
  });

  it.each<[string, (dsn: string) => Parameters<typeof Test.createTestingModule>[0]]>([
    ['in front of the module', (dsn) => ({ imports: [HAModule.forRoot(dsn), Feature] })],
    ['behind the module', (dsn) => ({ imports: [Feature, HAModule.forRoot(dsn)] })],
    ['in the root', (dsn) => ({ imports: [HAModule.forRoot(dsn)], providers: [Migrating] })],
    [
      'deeper than the module',
      (dsn) => {
        @Module({ imports: [Feature] })
        class Middle {}
        @Module({ imports: [Middle] })
        class Outer {}
        return { imports: [HAModule.forRoot(dsn), Outer] };
      },
    ],
  ])('a feature %s migrates in its onModuleInit', async (_where, metadata) => {
    const cluster = await startCluster({ nodes: 1 });
    const app = await compile(metadata(dsnOf(cluster, `${temporaryFolder()}/a.db`)));
    await app.init();
    expect(await app.get(HADatabase).all('SELECT v FROM t')).toEqual([{ v: 'init' }]);
    await cluster.settle();
    expect(await cluster.a.all('SELECT v FROM t')).toEqual([{ v: 'init' }]);
  });

  it('is idempotent, as is stop', async () => {
    const cluster = await startCluster({ nodes: 1 });
    await cluster.a.exec('CREATE TABLE t(v); INSERT INTO t VALUES(1)');
    const app = await compile({
      imports: [HAModule.forRoot(dsnOf(cluster, `${temporaryFolder()}/a.db`, '&autoStart=false'))],
    });
    await app.init();
    const db = app.get(HADatabase);
    const starts: string[] = [];
    db.events.subscribe(({ type }) => starts.push(type));
    await db.stop();
    await Promise.all([db.start(), db.start(), app.get<HARuntime>(partToken('runtime'), { strict: false }).start()]);
    expect(await db.all('SELECT * FROM t')).toEqual([{ v: 1 }]);
    await Promise.all([db.stop(), db.stop()]);
    await db.stop();
    expect((await failureOf(db.all('SELECT * FROM t'))).code).toBe('HA_UNAVAILABLE');
    const starting = db.start();
    await db.stop();
    await starting;
    await db.start();
    await db.run('INSERT INTO t VALUES(2)');
    await Promise.all([app.close(), app.close()]);
    await db.close();
    expect((await failureOf(db.start())).code).toBe('HA_DATABASE_CLOSED');
    expect(starts.filter((type) => type === 'started' || type === 'stopped')).toEqual([
      'started',
      'stopped',
      'started',
      'stopped',
      'started',
      'stopped',
    ]);
    await cluster.settle();
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([{ v: 1 }, { v: 2 }]);
  });
});

describe('shutdown', () => {
  @Injectable()
  class Hooks implements OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown, OnApplicationBootstrap {
    constructor(@InjectHA() private readonly db: HADatabase) {}
    onApplicationBootstrap = () => this.write('bootstrap');
    onModuleDestroy = () => this.write('destroy');
    beforeApplicationShutdown = () => this.write('before');
    onApplicationShutdown = () => this.write('shutdown');

    async write(v: string): Promise<void> {
      await this.db.run('INSERT INTO t(v) VALUES(?)', [v]);
    }
  }

  it.each<
    [string, (ha: Parameters<typeof Test.createTestingModule>[0]) => Parameters<typeof Test.createTestingModule>[0]]
  >([
    ['of the root', (metadata) => ({ ...metadata, providers: [Hooks] })],
    [
      'of a feature',
      (metadata) => {
        @Module({ providers: [Hooks] })
        class Hooked {}
        return { imports: [Hooked, ...(metadata.imports ?? [])] };
      },
    ],
  ])('writes work in every hook %s', async (_where, metadata) => {
    const cluster = await startCluster({ nodes: 1 });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const log: string[] = [];
    const path = `${temporaryFolder()}/a.db`;
    const app = await compile(metadata({ imports: [HAModule.forRoot(dsnOf(cluster, path))] }), log);
    await app.init();
    await app.close();
    await cluster.settle();
    expect(await cluster.a.prepare('SELECT v FROM t ORDER BY id').pluck().all()).toEqual([
      'bootstrap',
      'destroy',
      'before',
      'shutdown',
    ]);
    expect(existsSync(`${path}-wal`)).toBe(false);
  });

  it('waits for requests that are under way, whose writes succeed', async () => {
    const cluster = await startCluster({ nodes: 1 });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    let begun: () => void = () => undefined;
    const isUnderWay = new Promise<void>((resolve) => {
      begun = resolve;
    });
    @Controller()
    class Slow {
      constructor(@InjectHA() private readonly db: HADatabase) {}

      @Post()
      async write(@Body() { v }: { v: string }): Promise<unknown> {
        begun();
        await pause(300);
        await this.db.run('INSERT INTO t(v) VALUES(?)', [v]);
        return this.db.get('SELECT v FROM t WHERE v = ?', [v]);
      }
    }
    const app = await compile({
      imports: [HAModule.forRoot(dsnOf(cluster, `${temporaryFolder()}/a.db`))],
      controllers: [Slow] as Type[],
    });
    await app.listen(0, '127.0.0.1');
    const answer = fetch(await app.getUrl(), {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: '{"v":"late"}',
    });
    await isUnderWay;
    await app.close();
    expect((await answer).status).toBe(201);
    await cluster.settle();
    expect(await cluster.a.all('SELECT v FROM t')).toEqual([{ v: 'late' }]);
  });
});

it('logs next to nothing at a normal start and stop', async () => {
  const cluster = await startCluster({ nodes: 1 });
  const log: string[] = [];
  const app = await compile({ imports: [HAModule.forRoot(dsnOf(cluster, `${temporaryFolder()}/a.db`))] }, log);
  await app.init();
  await app.get(HADatabase).exec('CREATE TABLE t(v); INSERT INTO t VALUES(1)');
  await app.close();
  // Nest itself tells of every module.
  expect(log.filter((line) => !/dependencies initialized|Nest application/.test(line))).toEqual([]);
});
