import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { SampleApp } from '../support/sample-app.js';
import { until } from '../helper/cluster.js';

let root: string;
let server: EmbeddedNatsServer;
let apps: SampleApp[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sample-interceptors-'));
  server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: join(root, 'nats') });
  for (const name of ['node1', 'node2']) {
    const dsn = `file:${root}/${name}.db?name=${name}&replicationID=shop&replicationURL=${server.url}`;
    apps = [...apps, await SampleApp.start(dsn, '03-interceptors')];
  }
}, 300_000);

afterAll(async () => {
  for (const app of apps) await app.stop();
  await server?.release();
  await rm(root, { recursive: true, force: true });
});

const products = async (app: SampleApp): Promise<unknown> => (await app.request('GET', '/products')).body;

it('sells what there is, and no more, on two nodes at once', async () => {
  const [first, second] = apps as [SampleApp, SampleApp];
  await first.request('POST', '/products', { product: 1, name: 'book', price: 12.5, amount: 30 });
  await until(async () => ((await products(second)) as unknown[]).length === 1);
  const sell = async (app: SampleApp): Promise<number[]> => {
    const answers: number[] = [];
    for (let sale = 0; sale < 20; sale++) {
      answers.push((await app.request('POST', '/products/1/sales', { quantity: 1 })).status);
    }
    return answers;
  };
  const answers = (await Promise.all([sell(first), sell(second)])).flat();
  expect(answers.filter((status) => status === 201)).toHaveLength(30);
  expect(answers.filter((status) => status === 409)).toHaveLength(10);
  for (const app of apps) {
    await until(async () => ((await products(app)) as { sold: number }[])[0]?.sold === 30);
    expect(await products(app)).toMatchObject([{ amount: 0, sold: 30 }]);
  }
}, 120_000);

it('keeps the price that was set last', async () => {
  const [first, second] = apps as [SampleApp, SampleApp];
  await first.request('PUT', '/products/1/price', { price: 11, at: 1_900_000_000_000 });
  await second.request('PUT', '/products/1/price', { price: 10, at: 1_800_000_000_000 });
  for (const app of apps) await until(async () => ((await products(app)) as { price: number }[])[0]?.price === 11);
});
