import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { until } from '../helper/cluster.js';
import { SampleApp } from '../support/sample-app.js';

let root: string;
let server: EmbeddedNatsServer;
let app: SampleApp;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'sample-cdc-'));
  server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: join(root, 'nats') });
  const dsn = `file:${root}/node1.db?name=node1&replicationID=orders&replicationURL=${server.url}`;
  app = await SampleApp.start(dsn, '05-cdc', { CDC_FILE: join(root, 'events.jsonl') });
}, 300_000);

afterAll(async () => {
  await app?.stop();
  await server?.release();
  rmSync(root, { recursive: true, force: true });
});

it('tells a file and another system what happens to orders', async () => {
  for (const item of ['book', 'pen']) await app.request('POST', '/orders', { item });
  await app.request('PUT', '/orders/1/state', { state: 'paid' });
  await app.request('DELETE', '/orders/2');
  const copy = async (): Promise<unknown> => (await app.request('GET', '/orders/warehouse')).body;
  await until(async () => JSON.stringify(await copy()) === '[{"id":1,"item":"book","state":"paid"}]');
  const lines = (): { value: { op?: string } }[] =>
    readFileSync(join(root, 'events.jsonl'), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { value: { op?: string } });
  await until(() => lines().at(-1)?.value.op === 'd');
  expect(lines().flatMap(({ value }) => value.op ?? [])).toEqual(['c', 'c', 'u', 'd']);
  expect(await app.stop()).toBe('SIGTERM');
});
