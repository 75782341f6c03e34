import { metrics } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import type { Histogram } from '@opentelemetry/sdk-metrics';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { HAMetricsModule } from '../../../lib/metrics/ha-metrics.module.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { onCleanup, until } from '../../helper/cluster.js';

const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
const provider = new MeterProvider({ readers: [reader] });

type Values = Record<string, unknown>;

/** The value of every metric of a node. */
async function measured(node: string): Promise<Values> {
  exporter.reset();
  await provider.forceFlush();
  const scopes = exporter.getMetrics().at(-1)?.scopeMetrics ?? [];
  const values: Values = {};
  for (const { descriptor, dataPoints } of scopes.flatMap((scope) => scope.metrics)) {
    const points = dataPoints as { attributes: Record<string, unknown>; value: unknown }[];
    const point = points.find(({ attributes }) => attributes['node'] === node || attributes['node'] === undefined);
    if (point !== undefined) values[descriptor.name] = point.value;
  }
  return values;
}

async function start(broker: HATestingBroker, name: string): Promise<TestingModule> {
  const app = await Test.createTestingModule({
    imports: [HATestingModule.forRoot({ broker, name }), HAMetricsModule],
  }).compile();
  onCleanup(() => app.close());
  return app.init();
}

afterAll(() => provider.shutdown());

it('costs nothing and fails nothing without an SDK', async () => {
  const app = await start(new HATestingBroker(), 'none');
  await app.get(HADatabase).exec('CREATE TABLE t(v); INSERT INTO t VALUES(1)');
  await app.close();
});

it('measures commits, publishing, applying, conflicts and lag of each node', async () => {
  metrics.setGlobalMeterProvider(provider);
  const broker = new HATestingBroker();
  const first = await start(broker, 'm1');
  const a = first.get(HADatabase);
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const second = await start(broker, 'm2');
  const b = second.get(HADatabase);
  await Promise.all(Array.from({ length: 20 }, (_, id) => a.run('INSERT INTO t VALUES(?, 0)', [id])));
  const { txseq = 0n } = await a.run('UPDATE t SET v = 1');
  await b.waitFor(txseq, { timeout: 10_000 });

  const writer = await measured('m1');
  expect(writer).toMatchObject({
    'nestjs_ha.commits': 22,
    'nestjs_ha.up': 1,
    'nestjs_ha.connected': 1,
    'nestjs_ha.position': 22,
    'nestjs_ha.lag.messages': 0,
    'nestjs_ha.lag.time': 0,
    'nestjs_ha.writes.waiting': 0,
  });
  const sizes = writer['nestjs_ha.commit.group.size'] as Histogram;
  expect(sizes.sum).toBe(22);
  expect((writer['nestjs_ha.publish.duration'] as Histogram).count).toBe(sizes.count);
  expect(writer['nestjs_ha.event_loop.stall']).toBeGreaterThanOrEqual(0);

  const reader = await measured('m2');
  // What it caught up with at its start is counted too.
  expect(reader).toMatchObject({ 'nestjs_ha.applied': 22, 'nestjs_ha.position': 22 });
  expect((reader['nestjs_ha.replication.delay'] as Histogram).count).toBe(22);
  expect(reader['nestjs_ha.commits']).toBeUndefined();

  await Promise.all(Array.from({ length: 10 }, () => [a, b].map((db) => db.run('INSERT INTO t(v) VALUES(2)'))).flat());
  const both = [await measured('m1'), await measured('m2')];
  const commits = both.map((values) => Number(values['nestjs_ha.commits']));
  expect(commits[0]! + commits[1]!).toBe(42);
  expect(both.reduce((sum, values) => sum + Number(values['nestjs_ha.refused'] ?? 0), 0)).toBeGreaterThan(0);

  for (const db of [a, b]) db.events.subscribe();
  await until(async () => {
    const round = String(performance.now());
    await Promise.all([a, b].map((db) => db.run('UPDATE t SET v = ? WHERE id = 1', [`${round} ${db.status().node}`])));
    return a.status().conflicts > 0;
  });
  for (const db of [a, b]) {
    for (const other of [a, b]) await db.waitFor(other.position().published, { timeout: 10_000 });
  }
  expect(await measured('m1')).toMatchObject({ 'nestjs_ha.conflicts': a.status().conflicts });

  broker.disconnect('m2');
  expect(await measured('m2')).toMatchObject({ 'nestjs_ha.connected': 0 });
  await second.close();
  // Asked once more, it would say that it is closed: the last value stands.
  expect(await measured('m2')).toMatchObject({ 'nestjs_ha.up': 1 });
});
