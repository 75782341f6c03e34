import { Controller, Get, Inject, Injectable, Logger, Module } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import { partToken } from '../../../lib/common/tokens.js';
import { HAError } from '../../../lib/common/ha-error.js';
import { HAHealthIndicator, HAHealthModule } from '../../../lib/health/ha-health.js';
import type { HAHealthOptions } from '../../../lib/health/ha-health.js';
import { HAModule } from '../../../lib/ha.module.js';
import type { HARuntime } from '../../../lib/ha-runtime.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, until } from '../../helper/cluster.js';

@Injectable()
class Wanted {
  options: HAHealthOptions = {};
}

@Controller('health')
class HealthController {
  constructor(
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    private readonly ha: HAHealthIndicator,
    private readonly wanted: Wanted,
  ) {}

  @Get()
  @HealthCheck()
  check() {
    return this.health.check([() => this.ha.isHealthy('database', this.wanted.options)]);
  }
}

@Module({
  imports: [TerminusModule.forRoot({ logger: false }), HAHealthModule],
  controllers: [HealthController],
  providers: [Wanted],
})
class HealthModule {}

interface Answer {
  readonly code: number;
  readonly body: { status: string; details: { database: Record<string, unknown> } };
}

async function start(broker: HATestingBroker, isGlobal = true) {
  const module = await Test.createTestingModule({
    imports: [
      HATestingModule.forRoot({ broker, isGlobal, publisherTimeout: '2s' }),
      HATestingModule.forRoot({ broker, isGlobal, connection: 'orders', autoStart: false }),
      HealthModule,
    ],
  }).compile();
  const app: INestApplication = module.createNestApplication({ logger: false });
  onCleanup(() => app.close());
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const ask = async (options: HAHealthOptions = {}): Promise<Answer> => {
    app.get(Wanted).options = options;
    const response = await fetch(`${url}/health`);
    return { code: response.status, body: (await response.json()) as Answer['body'] };
  };
  const runtime = app.get<HARuntime>(partToken('runtime'), { strict: false });
  return { app, ask, runtime, db: app.get<HADatabase>(HADatabase, { strict: false }) };
}

afterAll(() => Logger.overrideLogger(['log', 'warn', 'error']));

it('is up with everything that the status says', async () => {
  const { ask, db } = await start(new HATestingBroker());
  await db.exec('CREATE TABLE t(v)');
  const { code, body } = await ask({ maxLag: '10s', requireConnected: true });
  expect(code).toBe(200);
  expect(body.details.database).toMatchObject({
    status: 'up',
    state: 'running',
    role: 'peer',
    node: 'node',
    connected: true,
    position: { received: 1, published: 1 },
    backlog: 0,
    waitingWrites: 0,
    lag: { messages: 0, seconds: 0, answered: true },
  });
});

it('is down without the stream where that is required, and after the lag that is allowed', async () => {
  const broker = new HATestingBroker();
  const { ask } = await start(broker, false);
  broker.disconnect();
  expect(await ask()).toMatchObject({ code: 200, body: { details: { database: { connected: false } } } });
  const { code, body } = await ask({ requireConnected: true });
  expect(code).toBe(503);
  expect(body.details.database).toMatchObject({ status: 'down', message: 'the stream is away', state: 'running' });
  expect((await ask({ maxLag: '1h' })).code).toBe(200);
  await until(async () => (await ask({ maxLag: 1 })).code === 503);
  expect((await ask({ maxLag: 1 })).body.details.database['message']).toMatch(
    /^the stream does not answer since .* s, 0.001 s are/,
  );
  await broker.connect();
  expect((await ask({ maxLag: 1, requireConnected: true })).code).toBe(200);
});

it('is down while messages wait for longer than the lag that is allowed', async () => {
  const broker = new HATestingBroker();
  const first = await start(broker);
  const second = await start(broker);
  await first.db.exec('CREATE TABLE t(v)');
  await second.db.waitFor(1n, { timeout: 10_000 });
  // Nothing can be applied while somebody holds the file.
  second.runtime.open?.connections.writer.exec('BEGIN IMMEDIATE');
  await first.db.run('INSERT INTO t VALUES(1)');
  await until(async () => (await second.ask({ maxLag: 1 })).code === 503);
  expect((await second.ask({ maxLag: 1 })).body.details.database['message']).toMatch(
    /^the database is behind since .* s/,
  );
  expect((await second.ask({ maxLag: '1h' })).code).toBe(200);
  expect(await second.db.lag()).toMatchObject({ messages: 1, answered: true });
  second.runtime.open?.connections.writer.exec('ROLLBACK');
  await second.db.waitFor(2n, { timeout: 10_000 });
  expect((await second.ask({ maxLag: 1 })).code).toBe(200);
  expect(await second.db.lag()).toEqual({ messages: 0, seconds: 0, answered: true });
});

it('is down while applying fails for another reason than a file that is busy', async () => {
  const { ask, runtime } = await start(new HATestingBroker());
  runtime.subscriber.state = 'retrying';
  const full = Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
  (runtime.subscriber as unknown as { lastError: Error }).lastError = full;
  expect((await ask()).body.details.database).toMatchObject({
    status: 'down',
    message: 'the database is retrying: database or disk is full',
  });
});

it('is down where replication has halted, and says why', async () => {
  const { ask, runtime } = await start(new HATestingBroker());
  runtime.subscriber.halt(new HAError('HA_APPLY_HALTED', 'The message at sequence 7 cannot be read.'));
  const { code, body } = await ask();
  expect(code).toBe(503);
  expect(body.details.database).toMatchObject({
    status: 'down',
    state: 'halted',
    message: 'the database is halted: The message at sequence 7 cannot be read.',
    lastError: { code: 'HA_APPLY_HALTED' },
  });
});

it('looks at the database that is asked for', async () => {
  const { ask } = await start(new HATestingBroker());
  const { code, body } = await ask({ connection: 'orders' });
  expect(code).toBe(503);
  expect(body.details.database).toMatchObject({ state: 'stopped', message: 'the database is stopped' });
  expect((await ask({ connection: 'nobody' })).code).toBe(500);
});

it('refuses options that are none', async () => {
  const { app } = await start(new HATestingBroker());
  const ha = app.get(HAHealthIndicator, { strict: false });
  expect((await failureOf(ha.isHealthy('x', { maxLag: '10' }))).message).toMatch(/^maxLag: "10" is not a duration/);
});

it('is up without a stream', async () => {
  const app = await Test.createTestingModule({ imports: [HAModule.forRoot(':memory:'), HAHealthModule] }).compile();
  onCleanup(() => app.close());
  await app.init();
  const result = await app.get(HAHealthIndicator).isHealthy('db', { maxLag: 1, requireConnected: true });
  expect(result).toMatchObject({ db: { status: 'up', role: 'standalone' } });
});
