import { existsSync } from 'node:fs';
import { Injectable, Module } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { InjectHA } from '../../../lib/common/inject-ha.js';
import { getHAToken, partToken } from '../../../lib/common/tokens.js';
import type { HARuntime } from '../../../lib/ha-runtime.js';
import { HAModule } from '../../../lib/ha.module.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup } from '../../helper/cluster.js';

@Injectable()
class UsersService implements OnModuleInit {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec('CREATE TABLE IF NOT EXISTS users(id INTEGER PRIMARY KEY, name TEXT NOT NULL)');
  }

  create(name: string) {
    return this.db.run('INSERT INTO users(name) VALUES(?)', [name]);
  }

  list() {
    return this.db.all('SELECT * FROM users ORDER BY id');
  }
}

@Module({
  imports: [
    HAModule.forRoot('file:/no/such/folder/users.db?name=n&replicationURL=nats://127.0.0.1:1&_foreign_keys=on'),
  ],
  providers: [UsersService],
})
class AppModule {}

async function started(broker?: HATestingBroker): Promise<TestingModule> {
  const app = await Test.createTestingModule({
    imports: [HATestingModule.forRoot(broker === undefined ? {} : { broker })],
    providers: [UsersService],
  }).compile();
  onCleanup(() => app.close());
  return app.init();
}

it('tests a service without a server', async () => {
  const app = await started();
  const users = app.get(UsersService);
  expect(await users.create('Ada')).toMatchObject({ changes: 1, lastInsertRowid: 1, txseq: 2n });
  expect(await users.list()).toEqual([{ id: 1, name: 'Ada' }]);
  expect(app.get(HADatabase).status()).toMatchObject({ role: 'peer', connected: true, node: 'node' });
});

it('tests what two nodes do, on a broker that they share', async () => {
  const broker = new HATestingBroker();
  const [first, second] = [await started(broker), await started(broker)];
  const { txseq } = await first.get(UsersService).create('Ada');
  await second.get(HADatabase).waitFor(txseq ?? 0n, { timeout: 10_000 });
  expect(await second.get(UsersService).list()).toEqual([{ id: 1, name: 'Ada' }]);
  expect(second.get(HADatabase).status().node).toBe('node-2');
});

it('shares nothing between applications without a common broker', async () => {
  const [first, second] = [await started(), await started()];
  await first.get(UsersService).create('Ada');
  expect(await second.get(UsersService).list()).toEqual([]);
});

it('keeps several databases of an application apart', async () => {
  const app = await Test.createTestingModule({
    imports: [HATestingModule.forRoot(), HATestingModule.forRoot({ connection: 'orders', generatedIds: 'overwrite' })],
  }).compile();
  onCleanup(() => app.close());
  await app.init();
  const orders = app.get<HADatabase>(getHAToken('orders'));
  await orders.exec('CREATE TABLE t(v)');
  expect((await failureOf(app.get(HADatabase).all('SELECT * FROM t'))).message).toBe('no such table: t');
  expect(app.get<HARuntime>(partToken('runtime', 'orders'), { strict: false }).options.generatedIds).toBe('overwrite');
});

it('takes no options from the environment', async () => {
  process.env['HA_DISABLE_PUBLISHER'] = 'true';
  try {
    const app = await started();
    expect(app.get(HADatabase).status().role).toBe('peer');
  } finally {
    delete process.env['HA_DISABLE_PUBLISHER'];
  }
});

it('checks the options as the module does', async () => {
  const compiling = Test.createTestingModule({ imports: [HATestingModule.forRoot({ replicas: 9 })] }).compile();
  expect((await failureOf(compiling)).code).toBe('HA_OPTIONS_INVALID');
});

it('fails writes while the broker is away, and reads on', async () => {
  const broker = new HATestingBroker();
  const app = await Test.createTestingModule({
    imports: [HATestingModule.forRoot({ broker, publisherTimeout: '1s' })],
    providers: [UsersService],
  }).compile();
  onCleanup(() => app.close());
  await app.init();
  broker.disconnect('node');
  expect(await failureOf(app.get(UsersService).create('Ada'))).toMatchObject({
    code: 'HA_PUBLISH_FAILED',
    retryable: true,
  });
  expect(await app.get(UsersService).list()).toEqual([]);
  await broker.connect();
  await app.get(UsersService).create('Ada');
  expect(await app.get(UsersService).list()).toHaveLength(1);
});

it('puts a whole application on a broker: neither its file nor its servers are touched', async () => {
  const broker = new HATestingBroker();
  const apps: TestingModule[] = [];
  for (let count = 0; count < 2; count++) {
    const builder = Test.createTestingModule({ imports: [AppModule] });
    const app = await HATestingModule.override(builder, { broker }).compile();
    onCleanup(() => app.close());
    apps.push(await app.init());
  }
  const [first, second] = apps as [TestingModule, TestingModule];
  const { txseq } = await first.get(UsersService).create('Ada');
  await second.get(HADatabase).waitFor(txseq ?? 0n, { timeout: 10_000 });
  expect(await second.get(UsersService).list()).toEqual([{ id: 1, name: 'Ada' }]);
  expect(first.get(HADatabase).reader.pragma('foreign_keys', { simple: true })).toBe(1);
  const { name: file } = first.get(HADatabase).reader;
  expect(existsSync(file)).toBe(true);
  await first.close();
  expect(existsSync(file)).toBe(false);
});
