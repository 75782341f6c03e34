import { Injectable, Module } from '@nestjs/common';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { partToken } from '../../../lib/common/tokens.js';
import { HAGrpcModule, haGrpcOptions } from '../../../lib/ha-grpc.js';
import type { HALifecycle } from '../../../lib/ha.lifecycle.js';
import { HADatabase, HALeader, InjectHALeader, getHALeaderToken } from '../../../lib/index.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { failureOf, onCleanup, until } from '../../helper/cluster.js';
import { freePort } from '../../helper/leader-cluster.js';
import { HAModule } from '../../../lib/ha.module.js';
import type { HAModuleOptions } from '../../../lib/ha-module-options.js';

@Injectable()
class Uses {
  constructor(
    readonly leader: HALeader,
    @InjectHALeader('orders') readonly orders: HALeader,
  ) {}
}

describe('HALeader', () => {
  it('is injected by its class, and for each connection', async () => {
    const broker = new HATestingBroker();
    @Module({
      imports: [
        HATestingModule.forRoot({ broker, leaderProvider: 'dynamic:127.0.0.1:5001' }),
        HATestingModule.forRoot({ broker, connection: 'orders', replicationID: 'orders' }),
      ],
      providers: [Uses],
    })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'], abortOnError: false });
    onCleanup(() => app.close());
    const { leader, orders } = app.get(Uses);
    expect(app.get(getHALeaderToken())).toBe(leader);
    expect(app.get(HALeader)).toBe(leader);
    const target = { text: '127.0.0.1:5001', grpc: '127.0.0.1:5001' };
    expect(await leader.known(10_000)).toMatchObject({ target, node: 'node' });
    expect(leader.isConfigured).toBe(true);
    // Every node writes where there is no leaderProvider.
    expect(orders).toMatchObject({ isConfigured: false });
    expect(orders.isLeader()).toBe(true);
    expect(await orders.known(1)).toEqual({ isLeader: true });
    await orders.resign();
    expect(orders.isLeader()).toBe(true);
  });

  it('is refused without a stream, and together with what would lose writes', async () => {
    const start = (options: HAModuleOptions): Promise<Error & { code?: string }> => {
      @Module({ imports: [HAModule.forRoot(':memory:', { ...options, autoStart: false })] })
      class AppModule {}
      return failureOf(NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false }));
    };
    const leaderProvider = 'dynamic:h:1';
    expect(await start({ leaderProvider })).toMatchObject({
      code: 'HA_OPTIONS_INVALID',
      message: expect.stringContaining('needs a stream'),
    });
    const replicationURL = 'nats://127.0.0.1:1';
    for (const other of [{ asyncPublisher: true }, { disableSubscriber: true }]) {
      expect(await start({ leaderProvider, replicationURL, ...other })).toMatchObject({
        code: 'HA_OPTIONS_INVALID',
        message: expect.stringContaining('leaderProvider'),
      });
    }
  });
});

describe('An application that ends', () => {
  it('lets another node lead in front of everything else, and writes through that until its end', async () => {
    const broker = new HATestingBroker();
    const start = async (): Promise<INestApplicationContext> => {
      const port = await freePort();
      // The broker gives each a name of its own, and no gRPC port: its server is connected by hand.
      const imports = [HATestingModule.forRoot({ broker, leaderProvider: `dynamic:127.0.0.1:${port}` })];
      @Module({ imports: [...imports, HAGrpcModule.forRoot()] })
      class AppModule {}
      const app = await NestFactory.create(AppModule, { logger: ['error'], abortOnError: false });
      app.connectMicroservice(haGrpcOptions(app, { host: '127.0.0.1', port }));
      await app.startAllMicroservices();
      await app.init();
      onCleanup(() => app.close());
      return app;
    };
    const first = await start();
    const leader = first.get(HALeader);
    await until(() => leader.isLeader());
    const db = first.get(HADatabase);
    await db.exec('CREATE TABLE t(v)');
    const second = await start();
    await second.get(HADatabase).run('INSERT INTO t VALUES(1)');
    const lifecycle = first.get<HALifecycle>(partToken('lifecycle'), { strict: false });
    await lifecycle.beforeApplicationShutdown();
    expect(leader.isLeader()).toBe(false);
    await db.run('INSERT INTO t VALUES(2)');
    expect(second.get(HALeader).isLeader()).toBe(true);
    await first.close();
    expect(await second.get(HADatabase).all('SELECT v FROM t')).toEqual([{ v: 1 }, { v: 2 }]);
  });

  it('goes on leading to its end where it is alone', async () => {
    @Module({ imports: [HATestingModule.forRoot({ leaderProvider: 'dynamic:127.0.0.1:1' })] })
    class AppModule {}
    const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'], abortOnError: false });
    onCleanup(() => app.close());
    const leader = app.get(HALeader);
    await until(() => leader.isLeader());
    await app.get<HALifecycle>(partToken('lifecycle'), { strict: false }).beforeApplicationShutdown();
    expect(leader.isLeader()).toBe(true);
    await app.get(HADatabase).exec('CREATE TABLE t(v)');
  });
});
