import { Inject, Injectable, Module } from '@nestjs/common';
import type { TransactionHost as Host } from '@nestjs-cls/transactional';
import type { ClsService as Cls } from 'nestjs-cls';
import { isRetryable } from '../../../lib/common/retryable.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { HAModule } from '../../../lib/ha.module.js';
import { HATransactionalAdapter } from '../../../lib/orm/cls.js';
import type { HATransactionalAdapterOptions } from '../../../lib/orm/cls.js';
import type { HAExecutor } from '../../../lib/write/executor.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';
import { failureOf, pause, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { startApp } from '../../helper/nest-app.js';
import type { Cluster } from '../../helper/cluster.js';
import {
  ClsModule,
  ClsPluginTransactional,
  ClsService,
  Propagation,
  Transactional,
  TransactionHost,
} from '../../helper/nestjs-cls.js';

@Injectable()
class Accounts {
  constructor(
    @Inject(TransactionHost) private readonly host: Host<HATransactionalAdapter>,
    @Inject(ClsService) private readonly cls: Cls,
  ) {}

  get tx(): HAExecutor {
    return this.host.tx;
  }

  async add(id: number, balance: number): Promise<void> {
    await this.tx.run('INSERT INTO account VALUES(?, ?)', [id, balance]);
  }

  async balance(id: number): Promise<number | undefined> {
    return (await this.tx.get<{ balance: number }>('SELECT balance FROM account WHERE id = ?', [id]))?.balance;
  }

  @Transactional()
  async change(id: number, by: number): Promise<void> {
    const balance = await this.balance(id);
    await this.tx.run('UPDATE account SET balance = ? WHERE id = ?', [(balance ?? 0) + by, id]);
  }

  @Transactional<HATransactionalAdapter>({ serializable: true, timeout: 30_000 })
  async insideOnce(work: () => Promise<void>): Promise<void> {
    await work();
  }

  @Transactional<HATransactionalAdapter>({ serializable: true, retry: false, timeout: 30_000 })
  async insideWithoutRetry(work: () => Promise<void>): Promise<void> {
    await work();
  }

  /** Takes from one and fails behind it, where the other is to have too much. */
  @Transactional()
  async transfer(from: number, to: number, amount: number): Promise<void> {
    await this.change(from, -amount);
    await this.change(to, amount);
    if (((await this.balance(to)) ?? 0) > 100) throw new Error('too much');
  }

  @Transactional(Propagation.Nested)
  async note(id: number, fails: boolean): Promise<void> {
    await this.add(id, 0);
    if (fails) throw new Error('no note');
  }

  @Transactional()
  async withNotes(): Promise<void> {
    await this.note(10, false);
    await this.note(11, true).catch(() => undefined);
    await this.note(12, false);
  }

  @Transactional(Propagation.RequiresNew)
  async alone(id: number): Promise<void> {
    await this.add(id, 0);
  }

  @Transactional(Propagation.NotSupported)
  async outside(id: number): Promise<void> {
    await this.add(id, 0);
  }

  @Transactional(Propagation.Mandatory)
  async mandatory(id: number): Promise<void> {
    await this.add(id, 0);
  }

  @Transactional(Propagation.Never)
  async never(id: number): Promise<void> {
    await this.add(id, 0);
  }

  @Transactional()
  async inside(work: () => Promise<void>): Promise<void> {
    await work();
  }

  /** The request that it runs in, as it sees itself in its transaction. */
  @Transactional()
  async request(): Promise<unknown> {
    await this.change(1, 1);
    return this.cls.get('request');
  }
}

describe('@nestjs-cls/transactional', () => {
  let cluster: Cluster;
  let accounts: Accounts;
  let cls: Cls;
  let db: HADatabase;

  beforeEach(async () => {
    cluster = await startCluster();
    await cluster.a.exec(
      'CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER); INSERT INTO account VALUES(1, 50), (2, 50)',
    );
    ({ accounts, cls, db } = await application(cluster));
  });

  it('runs a method as a transaction, whole or not at all', async () => {
    await accounts.transfer(1, 2, 20);
    expect([await accounts.balance(1), await accounts.balance(2)]).toEqual([30, 70]);
    expect((await failureOf(accounts.transfer(1, 2, 31))).message).toBe('too much');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT balance FROM account')).toEqual([{ balance: 30 }, { balance: 70 }]);
    expect(accounts.tx).toBe(db);
  });

  it('propagates: a savepoint for Nested, errors for what would wait for its own end', async () => {
    await accounts.withNotes();
    expect(await db.all('SELECT id FROM account WHERE id > 9')).toEqual([{ id: 10 }, { id: 12 }]);
    await accounts.alone(20);
    await accounts.outside(21);
    await accounts.never(22);
    await accounts.inside(() => accounts.mandatory(23));
    const requiresNew = await failureOf(accounts.inside(() => accounts.alone(30)));
    expect(requiresNew).toMatchObject({ code: 'HA_NESTED_TRANSACTION' });
    expect(requiresNew.message).toContain('Propagation.RequiresNew');
    const own = new HATransactionalAdapter();
    expect(own.connectionToken).toBe(getHAToken());
    expect(await failureOf(accounts.inside(() => accounts.outside(31)))).toMatchObject({
      code: 'HA_NESTED_TRANSACTION',
    });
    expect((await failureOf(accounts.inside(() => accounts.never(32)))).name).toBe('TransactionAlreadyActiveError');
    expect((await failureOf(async () => accounts.mandatory(33))).name).toBe('TransactionNotActiveError');
    // What fails inside by the database itself is not the adapter's to explain.
    const root = await failureOf(accounts.inside(() => db.exec('DELETE FROM account')));
    expect(root).toMatchObject({ code: 'HA_NESTED_TRANSACTION' });
    expect(root.message).not.toContain('Propagation');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT id FROM account WHERE id > 12')).toEqual([20, 21, 22, 23].map((id) => ({ id })));
  });

  it('loses no update of 50 concurrent read-modify-writes, nor where another node writes, and runs again', async () => {
    await Promise.all(Array.from({ length: 50 }, () => accounts.change(1, 1)));
    expect(await accounts.balance(1)).toBe(100);
    const here = (): Promise<void> => accounts.insideOnce(() => accounts.change(1, 1));
    const there = (): Promise<unknown> =>
      cluster.a.transaction((tx) => tx.run('UPDATE account SET balance = balance + 1 WHERE id = 1'), {
        serializable: true,
        timeout: 30_000,
      });
    await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? here() : there())));
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT balance FROM account WHERE id = 1')).toEqual({ balance: 120 });
  });

  it('runs again where another node came first, or fails with a retryable conflict where it may not', async () => {
    let runs = 0;
    const overtaken = async (): Promise<void> => {
      if (runs++ === 0) await cluster.a.run('UPDATE account SET balance = balance + 5 WHERE id = 2');
      await accounts.change(2, 1);
    };
    await accounts.insideOnce(overtaken);
    expect(runs).toBe(2);
    await cluster.settle();
    runs = 0;
    const error = await failureOf(accounts.insideWithoutRetry(overtaken));
    expect(error).toMatchObject({ code: 'HA_CONFLICT' });
    expect(isRetryable(error)).toBe(true);
    expect(runs).toBe(1);
    await accounts.insideWithoutRetry(overtaken);
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT balance FROM account WHERE id = 2')).toEqual({ balance: 62 });
  });

  it('keeps requests apart, and their transactions', async () => {
    const ids = Array.from({ length: 30 }, (_, id) => id);
    const seen = await Promise.all(ids.map((id) => cls.runWith({ request: id } as never, () => accounts.request())));
    expect(seen).toEqual(ids);
    expect(await accounts.balance(1)).toBe(80);
  });

  it('has its transactions at the leader on a follower', async () => {
    const nodes = await LeaderCluster.start({ nodes: 2 });
    const { db: follower } = nodes.follower;
    await follower.exec('CREATE TABLE t(v)');
    const { wrapWithTransaction, wrapWithNestedTransaction } = new HATransactionalAdapter().optionsFactory(follower);
    let tx: HAExecutor = follower;
    const setTx = (current?: HAExecutor): void => void (tx = current ?? follower);
    const insert = (value: string) => async (): Promise<void> =>
      void (await tx.run('INSERT INTO t VALUES(?)', [value]));
    const outer = async (): Promise<unknown> => {
      const own = tx;
      await insert('outer')();
      await wrapWithNestedTransaction?.({}, insert('inner'), setTx, own);
      const failing = async (): Promise<void> => {
        await insert('taken back')();
        throw new Error('no');
      };
      await failureOf(async () => wrapWithNestedTransaction?.({}, failing, setTx, own));
      return own.all('SELECT v FROM t');
    };
    expect(await wrapWithTransaction({}, outer, setTx)).toEqual([{ v: 'outer' }, { v: 'inner' }]);
    await nodes.expectEqual();
    nodes.expectOneWriterAtATime();
  });

  it('has limits, of the adapter or of a method', async () => {
    const slow = await application(cluster, { defaultTxOptions: { timeout: 100 } });
    const endless = slow.accounts.inside(async () => {
      await slow.accounts.add(40, 0);
      await pause(1_000);
    });
    expect(await failureOf(endless)).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    await slow.accounts.change(1, 1);
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM account')).toEqual([
      { id: 1, balance: 51 },
      { id: 2, balance: 50 },
    ]);
  });
});

/** An application with its own node of the cluster; @nestjs-cls/transactional knows one of a process, the last. */
async function application(
  cluster: Cluster,
  options?: HATransactionalAdapterOptions,
): Promise<{ accounts: Accounts; cls: Cls; db: HADatabase }> {
  const path = `${temporaryFolder()}/app.db`;
  const name = `app${Math.random().toString(36).slice(2)}`;
  const dsn = `file:${path}?name=${name}&replicationID=db&replicationStream=${cluster.stream}&replicationURL=${cluster.url}`;
  @Module({
    imports: [
      HAModule.forRoot(dsn),
      ClsModule.forRoot({
        global: true,
        plugins: [new ClsPluginTransactional({ adapter: new HATransactionalAdapter(options) })],
      }),
    ],
    providers: [Accounts],
  })
  class App {}
  const app = await startApp(App);
  const db = app.get<HADatabase>(getHAToken());
  const last = await cluster.lastSequence();
  await until(() => db.position().received >= BigInt(last));
  return { accounts: app.get(Accounts), cls: app.get(ClsService), db };
}
