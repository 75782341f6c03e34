import { Inject, Injectable, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { cdcValueJson } from '../../../lib/cdc/connect-json.js';
import type { HACDCEvent, HACDCTarget } from '../../../lib/cdc/target.js';
import type { HAModuleOptions } from '../../../lib/ha-module-options.js';
import { HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { TestTarget } from '../../helper/cdc-target.js';
import { failureOf, onCleanup, until } from '../../helper/cluster.js';

@Injectable()
class Audit {
  readonly lines: string[] = [];
}

@Injectable()
class AuditTarget implements HACDCTarget {
  constructor(
    @Inject(Audit) private readonly audit: Audit,
    @Inject(HADatabase) private readonly db: HADatabase,
  ) {}

  deliver(events: readonly HACDCEvent[]): void {
    for (const { type, value } of events) {
      if (type === 'change') this.audit.lines.push(`${this.db.status().node} ${value.op} ${value.source.table}`);
    }
  }
}

class NoTarget {}

@Module({ providers: [Audit, AuditTarget], exports: [Audit] })
class AuditModule {}

async function started(options: HAModuleOptions): Promise<TestingModule> {
  const app = await Test.createTestingModule({ imports: [HATestingModule.forRoot(options), AuditModule] }).compile();
  onCleanup(() => app.close());
  return app.init();
}

it('delivers to a provider of another module, with what is injected into it', async () => {
  const app = await started({ cdc: [AuditTarget] });
  const db = app.get(HADatabase);
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1); DELETE FROM t');
  const { lines } = app.get(Audit);
  await until(() => lines.length === 2);
  expect(lines).toEqual(['node c t', 'node d t']);
  expect(db.status().cdc).toMatchObject([{ name: 'AuditTarget', state: 'streaming' }]);
});

it('takes objects and settings, and makes a class that nobody provides', async () => {
  const target = new TestTarget();
  const app = await started({
    cdc: [{ target, name: 'first', topicPrefix: 'shop' }, TestTarget, { target: TestTarget, name: 'third' }],
  });
  const db = app.get(HADatabase);
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)');
  await until(() => target.changes.length === 1);
  expect(target.changes[0]?.topic).toMatch(/^shop\..*\.t$/);
  expect(db.status().cdc?.map(({ name }) => name)).toEqual(['first', 'TestTarget', 'third']);
});

it('tells tables and columns whose names every object has', async () => {
  const target = new TestTarget();
  const app = await started({ cdc: [{ target, maxBatchSize: 1 }] });
  const db = app.get(HADatabase);
  const names = ['constructor', '__proto__', 'toString'];
  for (const name of names) await db.exec(`CREATE TABLE "${name}"(id INTEGER PRIMARY KEY, "${name}" TEXT)`);
  await db.transaction(async (tx) => {
    for (const id of [1, 2]) for (const name of names) await tx.run(`INSERT INTO "${name}" VALUES(?, 'x')`, [id]);
  });
  await until(() => target.changes.length === 6);
  const told = target.changes.map(({ value: { source, transaction } }) => [
    source.table,
    transaction?.total_order,
    transaction?.data_collection_order,
  ]);
  expect(told).toEqual([...names.map((name, at) => [name, at + 1, 1]), ...names.map((name, at) => [name, at + 4, 2])]);
  for (const event of target.changes) {
    const { table } = event.value.source;
    expect(Object.entries(event.value.after ?? {})).toEqual([
      ['id', expect.anything()],
      [table, 'x'],
    ]);
    const { schema } = JSON.parse(cdcValueJson(event, { schemas: true })) as {
      schema: { fields: { fields: unknown }[] };
    };
    expect(schema.fields[1]?.fields).toMatchObject([{ type: 'int64' }, { type: 'string', field: table }]);
  }
});

it('refuses two targets of one name, what is no target, and a database without a stream', async () => {
  expect(await failureOf(started({ cdc: [AuditTarget, AuditTarget] }))).toMatchObject({
    code: 'HA_OPTIONS_INVALID',
    message: expect.stringContaining("named 'AuditTarget'"),
  });
  expect(await failureOf(started({ cdc: [NoTarget as never] }))).toMatchObject({
    code: 'HA_OPTIONS_INVALID',
    message: expect.stringContaining('no method deliver'),
  });
  expect(await failureOf(started({ cdc: [{ target: new TestTarget(), maxBatchSize: 0 }] }))).toMatchObject({
    code: 'HA_OPTIONS_INVALID',
  });
  expect(await failureOf(started({ cdc: [AuditTarget], disableSubscriber: true }))).toMatchObject({
    code: 'HA_OPTIONS_INVALID',
    message: expect.stringContaining('follows a stream'),
  });
});
