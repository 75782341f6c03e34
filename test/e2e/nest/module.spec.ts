import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Inject, Injectable, Module } from '@nestjs/common';
import type { DynamicModule, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { InjectHA } from '../../../lib/common/inject-ha.js';
import { getHAToken, partToken } from '../../../lib/common/tokens.js';
import type { HAFactoryOptions, HAModuleAsyncOptions, HAOptionsFactory } from '../../../lib/ha-module-options.js';
import type { HARuntime } from '../../../lib/ha-runtime.js';
import { HAModule } from '../../../lib/ha.module.js';
import { ReplicationPublisher } from '../../../lib/publish/replication-publisher.js';
import { ReplicationSubscriber } from '../../../lib/subscribe/replication-subscriber.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, temporaryFolder } from '../../helper/cluster.js';

@Injectable()
class Names {
  readonly name = 'from-service';
}

@Module({ providers: [Names], exports: [Names] })
class NamesModule {}

@Injectable()
class OptionsMaker implements HAOptionsFactory {
  constructor(
    private readonly names: Names,
    @Inject('suffix') private readonly suffix: string,
  ) {}

  async createHAOptions(connection: string): Promise<HAFactoryOptions> {
    return { dsn: ':memory:', name: `${this.names.name}-${connection}${this.suffix}` };
  }
}

@Module({
  imports: [NamesModule],
  providers: [OptionsMaker, { provide: 'suffix', useValue: '-made' }],
  exports: [OptionsMaker],
})
class MakerModule {}

async function compiled(imports: (DynamicModule | Type)[], providers: Type[] = []): Promise<TestingModule> {
  const app = await Test.createTestingModule({ imports, providers }).compile();
  onCleanup(() => app.close());
  return app;
}

const runtimeOf = (app: TestingModule, connection?: string): HARuntime =>
  app.get<HARuntime>(partToken('runtime', connection), { strict: false });

describe('forRootAsync', () => {
  const suffix = { provide: 'suffix', useValue: '-x' };

  it.each<[string, HAModuleAsyncOptions, string]>([
    [
      'useFactory with imports and inject',
      {
        imports: [NamesModule],
        inject: [Names, { token: 'missing', optional: true }],
        useFactory: async (names: Names, missing: unknown) => ({
          dsn: ':memory:',
          name: `${names.name}-${String(missing)}`,
        }),
      },
      'from-service-undefined',
    ],
    ['useFactory that answers at once', { useFactory: () => ({ dsn: ':memory:', name: 'now' }) }, 'now'],
    [
      'useFactory with extraProviders',
      {
        extraProviders: [suffix],
        inject: ['suffix'],
        useFactory: (text: string) => ({ dsn: ':memory:', name: `n${text}` }),
      },
      'n-x',
    ],
    [
      'useClass',
      { imports: [NamesModule], extraProviders: [suffix], useClass: OptionsMaker },
      'from-service-default-x',
    ],
    ['useExisting', { imports: [MakerModule], useExisting: OptionsMaker }, 'from-service-default-made'],
  ])('%s', async (_what, options, name) => {
    const app = await compiled([HAModule.forRootAsync(options)]);
    expect(runtimeOf(app).options.name).toBe(name);
    await app.init();
    expect(await app.get(HADatabase).get('SELECT 1 AS one')).toEqual({ one: 1 });
  });

  it('passes on what a factory throws, and refuses to be without one', async () => {
    const failing = { useFactory: () => Promise.reject(new Error('no vault')) };
    expect((await failureOf(compiled([HAModule.forRootAsync(failing)]))).message).toBe('no vault');
    expect(() => HAModule.forRootAsync({})).toThrow(/needs useFactory, useClass or useExisting/);
  });

  it('names the database whose options are wrong', async () => {
    const wrong = { connection: 'orders', useFactory: () => ({ dsn: 'x://', replicas: 9 }) };
    const error = await failureOf(compiled([HAModule.forRootAsync(wrong)]));
    expect(error.message).toMatch(/^The options of database "orders" have 2 problems:/);
  });
});

describe('several databases', () => {
  @Injectable()
  class Both {
    constructor(
      @InjectHA() readonly main: HADatabase,
      @InjectHA('orders') readonly orders: HADatabase,
      readonly byClass: HADatabase,
      @Inject(ReplicationPublisher) readonly publisher: ReplicationPublisher,
      @Inject(ReplicationSubscriber) readonly subscriber: ReplicationSubscriber,
    ) {}
  }

  it('are injected by name, the default one by its class too', async () => {
    const app = await compiled(
      [
        HAModule.forRoot(':memory:'),
        HAModule.forRootAsync({ connection: 'orders', useFactory: () => ({ dsn: ':memory:' }) }),
      ],
      [Both],
    );
    await app.init();
    const both = app.get(Both);
    expect(both.byClass).toBe(both.main);
    expect(both.publisher).toBe(runtimeOf(app).publisher);
    expect(both.subscriber).toBe(runtimeOf(app).subscriber);
    await both.orders.exec('CREATE TABLE t(v)');
    expect((await failureOf(both.main.all('SELECT * FROM t'))).message).toBe('no such table: t');
  });

  it.each<[string, string | undefined, string]>([
    ['without a name', undefined, `Two databases are named 'default'`],
    ['of one name', 'orders', `Two databases are named 'orders'`],
  ])('%s are refused when the application is made', async (_what, connection, message) => {
    const options = connection === undefined ? {} : { connection };
    const error = await failureOf(
      compiled([
        HAModule.forRoot('a.db', options),
        HAModule.forRootAsync({ ...options, useFactory: () => ({ dsn: 'b.db' }) }),
      ]),
    );
    expect(error).toMatchObject({
      code: 'HA_DUPLICATE_CONNECTION',
      message: expect.stringContaining(message) as string,
    });
    expect(existsSync('a.db') || existsSync('b.db')).toBe(false);
  });

  it('are seen only by importers where they are not global', async () => {
    const local = HAModule.forRoot(':memory:', { isGlobal: false });
    @Injectable()
    class Feature {
      constructor(@InjectHA() readonly db: HADatabase) {}
    }
    @Module({ providers: [Feature] })
    class Outside {}
    @Module({ imports: [local], providers: [Feature] })
    class Inside {}
    expect((await failureOf(compiled([local, Outside]))).message).toMatch(/can't resolve dependencies/);
    const app = await compiled([local, Inside]);
    expect(app.get(Feature, { strict: false }).db).toBe(app.get(getHAToken(), { strict: false }));
  });
});

it('lets applications in one process use the same names', async () => {
  const apps = await Promise.all([compiled([HAModule.forRoot(':memory:')]), compiled([HAModule.forRoot(':memory:')])]);
  const [first, second] = apps;
  await Promise.all(apps.map((app) => app.init()));
  await first.get(HADatabase).exec('CREATE TABLE t(v)');
  expect((await failureOf(second.get(HADatabase).all('SELECT * FROM t'))).message).toBe('no such table: t');
  await first.close();
  expect(await second.get(HADatabase).get('SELECT 1 AS one')).toEqual({ one: 1 });
});

describe('overrideProvider(getHAToken())', () => {
  it.each([
    ['an object', async () => ({ all: () => Promise.resolve(['fake']) })],
    [
      'another database',
      async () => {
        const other = await compiled([HATestingModule.forRoot({ broker: new HATestingBroker() })]);
        await other.init();
        return other.get(HADatabase);
      },
    ],
  ])('by %s keeps off file and broker', async (_what, make) => {
    const connections: unknown[] = [];
    const server = createServer((socket) => {
      connections.push(socket);
      socket.destroy();
    }).listen(0, '127.0.0.1');
    onCleanup(() => void server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const path = `${temporaryFolder()}/x.db`;
    const fake = await make();
    const app = await Test.createTestingModule({
      imports: [HAModule.forRoot(`file:${path}?replicationURL=nats://127.0.0.1:${port}`, { retryAttempts: 0 })],
    })
      .overrideProvider(getHAToken())
      .useValue(fake)
      .compile();
    await app.init();
    expect(app.get(HADatabase)).toBe(fake);
    await app.close();
    expect(existsSync(path)).toBe(false);
    expect(connections).toEqual([]);
  });
});
