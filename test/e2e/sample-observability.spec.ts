import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { until } from '../helper/cluster.js';
import { SampleApp } from '../support/sample-app.js';

let root: string;
let server: EmbeddedNatsServer;
let first: SampleApp;
let second: SampleApp;

const start = (name: string): Promise<SampleApp> =>
  SampleApp.start(
    `file:${root}/${name}.db?name=${name}&replicationID=orders&replicationURL=${server.url}`,
    '04-observability',
  );

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sample-observability-'));
  server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: join(root, 'nats') });
  first = await start('node1');
  second = await start('node2');
}, 300_000);

afterAll(async () => {
  await second?.stop();
  await first?.stop();
  await server?.release();
  await rm(root, { recursive: true, force: true });
});

/** Collects what a server sends. */
async function listen(app: SampleApp, path: string): Promise<{ text: () => string; end: () => void }> {
  const controller = new AbortController();
  const response = await fetch(`${app.url}${path}`, { signal: controller.signal });
  let text = '';
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk as Uint8Array, { stream: true });
  };
  void read().catch(() => undefined);
  return { text: () => text, end: () => controller.abort() };
}

/** The value of a metric; fails where the node has none. */
async function metric(app: SampleApp, name: string): Promise<number> {
  const text = await (await fetch(`${app.url}/metrics`)).text();
  const [, value] = new RegExp(`^${name}\\{[^}]*\\} (\\S+)`, 'm').exec(text) ?? [];
  if (value === undefined) throw new Error(`There is no ${name} in:\n${text}`);
  return Number(value);
}

it('tells the changes of one node to who listens at the other', async () => {
  const feed = await listen(second, '/orders/changes');
  const { body } = await first.request('POST', '/orders', { item: 'book' });
  const { id } = body as { id: number };
  await first.request('PUT', `/orders/${id}/state`, { state: 'paid' });
  await until(() => feed.text().includes('event: update'));
  feed.end();
  expect(feed.text()).toMatch(
    /event: insert\nid: \d+\ndata: {"before":null,"after":{"id":1,"item":"book","state":"new"},"node":"node1"}/,
  );
  expect(feed.text()).toMatch(
    /event: update\nid: \d+\ndata: {"before":{[^}]*"new"},"after":{[^}]*"paid"},"node":"node1"}/,
  );
});

it('answers Prometheus', async () => {
  await first.request('POST', '/orders', { item: 'pen' });
  const commits = await metric(first, 'nestjs_ha_commits_total');
  expect(commits).toBeGreaterThanOrEqual(2);
  await until(async () => (await metric(second, 'nestjs_ha_position')) === (await metric(first, 'nestjs_ha_position')));
  expect(await metric(second, 'nestjs_ha_applied_total')).toBeGreaterThanOrEqual(commits);
  expect(await metric(second, 'nestjs_ha_lag_messages')).toBe(0);
  expect(await metric(first, 'nestjs_ha_publish_duration_count')).toBeGreaterThanOrEqual(1);
  expect(await metric(first, 'nestjs_ha_up')).toBe(1);
});

it('is ready, and says where it stands', async () => {
  expect(await first.request('GET', '/health/ready')).toMatchObject({
    status: 200,
    body: {
      details: { orders: { status: 'up', state: 'running', node: 'node1', connected: true, lag: { messages: 0 } } },
    },
  });
});

it('stops while somebody listens', async () => {
  const third = await start('node3');
  await listen(third, '/orders/changes');
  expect(await third.stop()).toBe('SIGTERM');
});

it('is ready, but not writable, while the server is away', async () => {
  process.kill(server.pid, 'SIGSTOP');
  try {
    await until(async () => (await second.request('GET', '/health/writable')).status === 503, 60_000);
    expect((await second.request('GET', '/health/ready')).status).toBe(200);
  } finally {
    process.kill(server.pid, 'SIGCONT');
  }
  await until(async () => (await second.request('GET', '/health/writable')).status === 200, 60_000);
}, 150_000);
