import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { Injectable, Scope } from '@nestjs/common';
import type { HAError } from '../../../lib/common/ha-error.js';
import { HAModule } from '../../../lib/ha.module.js';
import { IgnoreTables } from '../../../lib/interceptors/ignore-tables.js';
import { HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { TestTarget } from '../../helper/cdc-target.js';
import { failureOf, onCleanup } from '../../helper/cluster.js';

/** What is wrong with options that no compiler has seen. */
async function problemsOf(make: () => Promise<TestingModule>): Promise<readonly string[]> {
  const error = (await failureOf(make())) as HAError;
  expect(error).toMatchObject({ code: 'HA_OPTIONS_INVALID' });
  for (const problem of error.details.problems as string[]) expect(error.message).toContain(problem);
  return error.details.problems as string[];
}

async function given(options: object): Promise<TestingModule> {
  return Test.createTestingModule({ imports: [HATestingModule.forRoot(options)] }).compile();
}

async function fromFactory(options: object, beside: object = {}): Promise<TestingModule> {
  const module = HAModule.forRootAsync({ ...beside, useFactory: () => ({ dsn: ':memory:', ...options }) });
  return HATestingModule.override(Test.createTestingModule({ imports: [module] })).compile();
}

describe('options that make the module, returned by a factory', () => {
  it('are refused by name, with where they belong, together with all that is wrong besides', async () => {
    const interceptors = [IgnoreTables('t')];
    const options = { interceptors, connection: 'orders', isGlobal: false, imports: [], replicas: 9, snapshots: true };
    expect(await problemsOf(() => fromFactory(options))).toEqual([
      expect.stringMatching(/^option connection counts only beside the factory.*forRootAsync\({ connection: …/),
      expect.stringMatching(/^option isGlobal counts only beside the factory/),
      expect.stringMatching(/^option interceptors counts only beside the factory/),
      expect.stringMatching(/^option imports counts only beside the factory/),
      expect.stringMatching(/^option snapshots is unknown/),
      expect.stringMatching(/^option replicas: /),
    ]);
  });

  it('are refused from a class too', async () => {
    class Maker {
      createHAOptions(): object {
        return { dsn: ':memory:', interceptors: [IgnoreTables('t')] };
      }
    }
    const module = HAModule.forRootAsync({ useClass: Maker as never });
    const make = (): Promise<TestingModule> =>
      HATestingModule.override(Test.createTestingModule({ imports: [module] })).compile();
    expect(await problemsOf(make)).toEqual([expect.stringContaining('option interceptors')]);
  });

  it('are no mistake where they are undefined; and the others count from a factory', async () => {
    const app = await fromFactory({ interceptors: undefined, cdc: [{ target: new TestTarget(), name: 'x' }] });
    onCleanup(() => app.close());
    await app.init();
    expect(app.get(HADatabase).status().cdc).toMatchObject([{ name: 'x' }]);
  });

  it('and those that only a factory can give are refused beside it', async () => {
    expect(await problemsOf(() => fromFactory({}, { cdc: [TestTarget], dsn: 'a.db', inject: [] }))).toEqual([
      expect.stringMatching(/^option cdc does not count beside a factory/),
      expect.stringMatching(/^option dsn does not count beside a factory/),
    ]);
  });
});

describe('wrong targets of change data capture', () => {
  const target = new TestTarget();

  it('are told all at once, with what is allowed', async () => {
    const settings = { name: '', snapshot: 'bogus', topicPrefix: 5, includeSchemaChanges: 1, maxBatchSize: 0 };
    const cdc = [
      { target, ...settings, shutdownTimeout: 'x', batch: 7 },
      { target, name: 5, maxBatchSize: 1.5, shutdownTimeout: -1 },
      target,
      {},
      { target: {} },
      { target: 'x' },
      'x',
      null,
      [target],
      { target: Object.create(null) as object },
      { target: [class {}][0] },
      { target, name: 'same' },
      { target: TestTarget, name: 'same' },
    ];
    expect(await problemsOf(() => given({ cdc, replicas: 9 }))).toEqual([
      expect.stringMatching(/^option replicas: /),
      expect.stringMatching(/^option cdc\[0\]\.name: "" is empty.*; allowed: a text/),
      expect.stringMatching(/^option cdc\[0\]\.snapshot: "bogus" .*; allowed: initial, never$/),
      expect.stringMatching(/^option cdc\[0\]\.topicPrefix: 5 is not a text/),
      expect.stringMatching(/^option cdc\[0\]\.includeSchemaChanges: 1 .*; allowed: true, false$/),
      expect.stringMatching(/^option cdc\[0\]\.maxBatchSize: 0 .*; allowed: an integer from 1/),
      expect.stringMatching(/^option cdc\[0\]\.shutdownTimeout: "x" .*; allowed: an integer from 0/),
      expect.stringMatching(/^option cdc\[0\]\.batch is unknown; did you mean/),
      expect.stringMatching(/^option cdc\[1\]\.name: 5 is not a text/),
      expect.stringMatching(/^option cdc\[1\]\.maxBatchSize: 1\.5 /),
      expect.stringMatching(/^option cdc\[1\]\.shutdownTimeout: -1 /),
      expect.stringMatching(/^option cdc\[2\]: .*{ target: … }/),
      expect.stringMatching(/^option cdc\[3\]\.target: undefined is no target/),
      expect.stringMatching(/^option cdc\[4\]\.target: an object without a method deliver/),
      expect.stringMatching(/^option cdc\[5\]\.target: "x" is no target/),
      expect.stringMatching(/^option cdc\[6\]: "x" is no target/),
      expect.stringMatching(/^option cdc\[7\]: null is no target/),
      expect.stringMatching(/^option cdc\[8\]: an array is no target/),
      expect.stringMatching(/^option cdc\[9\]\.target: an object without a method deliver/),
      expect.stringMatching(/^option cdc\[10\]: a target whose class has no name/),
      expect.stringMatching(/^option cdc: two targets are named 'same'/),
    ]);
  });

  it.each([['x'], [null], [{}]])('are no list: %j', async (cdc) => {
    expect(await problemsOf(() => given({ cdc }))).toEqual([expect.stringMatching(/^option cdc: .* is not a list/)]);
  });

  it('are not what is left undefined: the defaults count', async () => {
    const settings = { snapshot: undefined, topicPrefix: undefined, maxBatchSize: undefined, name: undefined };
    const app = await given({ cdc: [{ target, ...settings }] });
    onCleanup(() => app.close());
    await app.init();
    const db = app.get(HADatabase);
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)');
    while (target.changes.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(db.status().cdc).toMatchObject([{ name: 'TestTarget', state: 'streaming' }]);
    expect(target.changes[0]?.topic).not.toMatch(/undefined/);
  });
});

describe('wrong interceptors', () => {
  @Injectable({ scope: Scope.REQUEST })
  class OfARequest {
    beforeRow(): void {}
  }

  it('are told all at once, with what is allowed', async () => {
    const interceptors = [
      null,
      'x',
      {},
      { useFactory: 5 },
      OfARequest,
      { beforeRow: 'x', tables: 't', name: 5 },
      { beforeRow: () => 'pass', tables: [1] },
      [IgnoreTables('t')],
    ];
    expect(await problemsOf(async () => given({ interceptors }))).toEqual([
      expect.stringMatching(/^option interceptors\[0\]: null is no interceptor; allowed: a class, an instance/),
      expect.stringMatching(/^option interceptors\[1\]: "x" is no interceptor/),
      expect.stringMatching(/^option interceptors\[2\]: it has none of beforeApply, beforeRow and afterApply/),
      expect.stringMatching(/^option interceptors\[3\]\.useFactory: 5 is not allowed/),
      expect.stringMatching(/^option interceptors\[4\]: the interceptor OfARequest is request-scoped/),
      expect.stringMatching(/^option interceptors\[5\]: beforeRow is no function/),
      expect.stringMatching(/^option interceptors\[5\]: name is no text/),
      expect.stringMatching(/^option interceptors\[5\]: tables is no list of texts/),
      expect.stringMatching(/^option interceptors\[6\]: tables is no list of texts/),
      expect.stringMatching(/^option interceptors\[7\]: an array is no interceptor/),
    ]);
  });

  it('are told where Nest has made them, too', async () => {
    class Nothing {}
    const interceptors = [Nothing, { useFactory: () => null }, { useFactory: () => IgnoreTables('t') }];
    expect(await problemsOf(async () => given({ interceptors }))).toEqual([
      'interceptors[0] (Nothing): it has none of beforeApply, beforeRow and afterApply',
      'interceptors[1] (): it is no object',
    ]);
  });

  it.each([['x'], [null], [{}]])('are no list: %j', async (interceptors) => {
    expect(await problemsOf(async () => given({ interceptors }))).toEqual([
      expect.stringMatching(/^option interceptors: .* is not a list/),
    ]);
  });
});
