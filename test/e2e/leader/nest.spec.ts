import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HALeader, InjectHALeader, getHALeaderToken } from '../../../lib/index.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { failureOf, onCleanup } from '../../helper/cluster.js';
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
