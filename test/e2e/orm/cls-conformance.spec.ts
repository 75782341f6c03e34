import { Module } from '@nestjs/common';
import type { Test } from '@nestjs/testing';
import { join } from 'node:path';
import { HAModule } from '../../../lib/ha.module.js';
import { HATransactionalAdapter } from '../../../lib/orm/cls.js';
import { failureOf, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { startApp } from '../../helper/nest-app.js';
import type { Cluster } from '../../helper/cluster.js';
import { ClsModule, ClsPluginTransactional } from '../../helper/nestjs-cls.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { Accounts, CHECKS, READ_PAST } from './cls-checks.js';
import { PlainAdapter, PlainDatabase } from './cls-plain-adapter.js';
import type { Adapter } from './cls-plain-adapter.js';
import { expectInReadme } from './conformance.js';

const TABLE = 'CREATE TABLE IF NOT EXISTS account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)';
const DEFAULTS = { timeout: 10_000 };

/** What happens to an adapter, beside what it does. */
interface Watch {
  readonly begun: unknown[];
  readonly hooks: string[];
}

/** The adapter as it is, and a note of each transaction that it begins and each hook that is called. */
function watched(adapter: Adapter, { begun, hooks }: Watch): Adapter {
  return {
    connectionToken: adapter.connectionToken,
    ...(adapter.connection === undefined ? {} : { connection: adapter.connection }),
    defaultTxOptions: DEFAULTS,
    optionsFactory: (...given) => {
      const made = adapter.optionsFactory(...given);
      return {
        ...made,
        wrapWithTransaction: (options, fn, setTx) => {
          begun.push(options);
          return made.wrapWithTransaction(options, fn, setTx);
        },
      };
    },
    onModuleInit: () => void hooks.push('onModuleInit'),
    onApplicationBootstrap: () => void hooks.push('onApplicationBootstrap'),
    onModuleDestroy: () => void hooks.push('onModuleDestroy'),
    beforeApplicationShutdown: () => void hooks.push('beforeApplicationShutdown'),
    onApplicationShutdown: () => void hooks.push('onApplicationShutdown'),
  };
}

/** An application with a transaction host for each of two databases. */
async function application(
  first: Adapter,
  second: Adapter,
  databases: readonly NonNullable<Parameters<typeof Test.createTestingModule>[0]['imports']>[number][],
): Promise<{ accounts: Accounts; close: () => Promise<void>; get: (name: string) => HADatabase; hooks: string[] }> {
  const watch: Watch = { begun: [], hooks: [] };
  const plugin = (adapter: Adapter, connectionName?: string): InstanceType<typeof ClsPluginTransactional> =>
    new ClsPluginTransactional({
      adapter,
      enableTransactionProxy: true,
      ...(connectionName === undefined ? {} : { connectionName }),
    });
  const ofSecond: Watch = { begun: watch.begun, hooks: [] };
  @Module({
    imports: [
      ...databases,
      ClsModule.forRoot({
        global: true,
        plugins: [plugin(watched(first, watch)), plugin(watched(second, ofSecond), 'second')],
      }),
    ],
    providers: [Accounts],
  })
  class App {}
  const app = await startApp(App);
  const accounts = app.get(Accounts);
  Object.assign(accounts, watch);
  return {
    accounts,
    close: () => app.close(),
    get: (name) => app.get<HADatabase>(getHAToken(name), { strict: false }),
    hooks: watch.hooks,
  };
}

async function fresh({ host, second, begun }: Accounts): Promise<void> {
  for (const { tx } of [host, second]) {
    await tx.run('DELETE FROM account');
    await tx.run('INSERT INTO account VALUES(1, 50), (2, 50)');
  }
  begun.length = 0;
}

async function results(accounts: Accounts): Promise<unknown[]> {
  const list: unknown[] = [];
  for (const [name, work] of CHECKS) {
    await fresh(accounts);
    list.push({ name, value: structuredClone(await work(accounts).catch((error: Error) => String(error.stack))) });
  }
  return list;
}

/** A node of the cluster in the application. */
function nodeOf(cluster: Cluster, file: string): string {
  return `file:${file}?name=app&replicationID=db&replicationStream=${cluster.stream}&replicationURL=${cluster.url}`;
}

it('@nestjs-cls/transactional does over two nodes what its documentation says, and what it does over better-sqlite3', async () => {
  const expected = CHECKS.map(([name, , value]) => ({ name, value }));
  const folder = temporaryFolder();
  const plain = ['plain.db', 'plain-second.db'].map((name) => new PlainDatabase(join(folder, name)));
  for (const db of plain) db.exec(TABLE);
  const [one, two] = plain.map((db) => new PlainAdapter(db));
  const stock = await application(one!, two!, []);
  expect(await results(stock.accounts)).toEqual(expected);
  await fresh(stock.accounts);
  expect(await READ_PAST[1](stock.accounts)).toEqual(READ_PAST[2]);
  await stock.close();

  const clusters = [await startCluster(), await startCluster()] as const;
  for (const { a } of clusters) await a.exec(TABLE);
  const ours = await application(
    new HATransactionalAdapter() as unknown as Adapter,
    new HATransactionalAdapter({ connection: 'second' }) as unknown as Adapter,
    [
      HAModule.forRoot([
        { dsn: nodeOf(clusters[0], join(folder, 'app.db')) },
        { connection: 'second', dsn: nodeOf(clusters[1], join(folder, 'second.db')) },
      ]),
    ],
  );
  for (const [i, name] of ['default', 'second'].entries()) {
    const last = BigInt(await clusters[i]!.lastSequence());
    await until(() => ours.get(name).position().received >= last);
  }
  expect(await results(ours.accounts)).toEqual(expected);
  await fresh(ours.accounts);
  // The one thing that is refused.
  expect(await failureOf(READ_PAST[1](ours.accounts))).toMatchObject({ code: 'HA_NESTED_TRANSACTION' });
  const rows = await Promise.all(['default', 'second'].map((name) => ours.get(name).all('SELECT * FROM account')));
  for (const [i, cluster] of clusters.entries()) {
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM account')).toEqual(rows[i]);
  }
  await ours.close();
  // The others in the order of Nest.
  expect([stock.hooks, ours.hooks]).toEqual(
    Array.from({ length: 2 }, () => [
      'onModuleInit',
      'onApplicationBootstrap',
      'onModuleDestroy',
      'beforeApplicationShutdown',
      'onApplicationShutdown',
    ]),
  );
  expectInReadme('nestjs-cls', CHECKS.length + 1);
});
