import { Injectable, Module, Scope } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import type { RowChange } from '../../../lib/changeset/changeset.js';
import type { HAInterceptor, HARowAnswer, HARowContext } from '../../../lib/changeset/interceptor.js';
import { InjectHA } from '../../../lib/common/inject-ha.js';
import { HAModule } from '../../../lib/ha.module.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { newValue, withValues } from '../../../lib/changeset/interceptor.js';
import { IgnoreTables } from '../../../lib/interceptors/ignore-tables.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup } from '../../helper/cluster.js';

@Injectable()
class Limits {
  readonly most = 100n;
}

@Module({ providers: [Limits], exports: [Limits] })
class LimitsModule {}

/** No row of `t` has more than the limit. */
@Injectable()
class Capped implements HAInterceptor {
  readonly tables = ['t'];

  constructor(private readonly limits: Limits) {}

  beforeRow(change: RowChange, _context: HARowContext): HARowAnswer {
    const value = newValue(change, 'v');
    return typeof value === 'bigint' && value > this.limits.most ? withValues(change, { v: this.limits.most }) : 'pass';
  }
}

/** Writes while modules are initialised, in front of the lifecycle of the database. */
@Injectable()
class Early implements OnModuleInit {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec('CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v); CREATE TABLE IF NOT EXISTS log(x)');
    await this.db.run('INSERT INTO t VALUES(1, 500)');
  }
}

async function compiled(imports: Parameters<typeof Test.createTestingModule>[0]): Promise<TestingModule> {
  const app = await Test.createTestingModule(imports).compile();
  onCleanup(() => app.close());
  return app;
}

it.each([
  ['classes', [Capped, IgnoreTables('log')]],
  [
    'a factory and an instance',
    [{ inject: [Limits], useFactory: (limits: Limits) => new Capped(limits) }, IgnoreTables('log')],
  ],
])('are made by Nest, in order, before anything is consumed: %s', async (_name, interceptors) => {
  const broker = new HATestingBroker();
  const options = { broker, interceptors, imports: [LimitsModule] };
  const apps: TestingModule[] = [];
  for (const providers of [[Early], []]) {
    const app = await compiled({ imports: [HATestingModule.forRoot(options)], providers });
    await app.init();
    apps.push(app);
  }
  const [first, second] = apps.map((app) => app.get(HADatabase)) as [HADatabase, HADatabase];
  const { txseq = 0n } = await first.run(`INSERT INTO log VALUES('x')`);
  await second.waitFor(txseq);
  for (const db of [first, second]) {
    expect(await db.all('SELECT * FROM t')).toEqual([{ id: 1, v: 100 }]);
    expect(await db.all('SELECT * FROM log')).toEqual([]);
  }
});

it('are those of their own database, with forRootAsync too', async () => {
  const broker = new HATestingBroker();
  const builder = Test.createTestingModule({
    imports: [
      HAModule.forRoot(':memory:', { interceptors: [IgnoreTables('log')] }),
      HAModule.forRootAsync({
        connection: 'orders',
        imports: [LimitsModule],
        interceptors: [Capped],
        useFactory: () => ({ dsn: ':memory:' }),
      }),
    ],
  });
  const app = await HATestingModule.override(builder, { broker }).compile();
  onCleanup(() => app.close());
  await app.init();
  const [main, orders] = [app.get(HADatabase), app.get<HADatabase>(getHAToken('orders'))];
  for (const db of [main, orders]) {
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(x)');
    await db.exec(`INSERT INTO t VALUES(1, 500); INSERT INTO log VALUES(1)`);
  }
  expect(await main.all('SELECT v FROM t')).toEqual([{ v: 500 }]);
  expect(await main.all('SELECT * FROM log')).toEqual([]);
  expect(await orders.all('SELECT v FROM t')).toEqual([{ v: 100 }]);
  expect(await orders.all('SELECT * FROM log')).toEqual([{ x: 1 }]);
});

describe('a mistake', () => {
  it('is told when the application is made: nothing to call', async () => {
    const interceptors = [IgnoreTables('x'), {} as HAInterceptor];
    const error = await failureOf(async () => compiled({ imports: [HATestingModule.forRoot({ interceptors })] }));
    expect(error).toMatchObject({ code: 'HA_OPTIONS_INVALID' });
    expect(error.message).toMatch(/interceptors\[1]: it has none of beforeApply, beforeRow and afterApply/);
  });

  it('is told when the application is made: one for each request', () => {
    @Injectable({ scope: Scope.REQUEST })
    class Scoped implements HAInterceptor {
      beforeApply(): void {}
    }
    expect(() => HATestingModule.forRoot({ interceptors: [Scoped] })).toThrow(/Scoped is request-scoped or transient/);
  });

  it('is told when the application is made: what it injects is nowhere', async () => {
    const error = await failureOf(compiled({ imports: [HATestingModule.forRoot({ interceptors: [Capped] })] }));
    expect(error.message).toMatch(/can't resolve dependencies of the .*Limits/s);
  });

  it('is told when the application is made: one that injects the database', async () => {
    @Injectable()
    class Circular implements HAInterceptor {
      constructor(@InjectHA() readonly db: HADatabase) {}
      beforeApply(): void {}
    }
    const error = await failureOf(compiled({ imports: [HATestingModule.forRoot({ interceptors: [Circular] })] }));
    expect(error.message).toMatch(/circular|can't resolve/i);
  });
});
