import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SampleApp } from '../support/sample-app.js';

let root: string;
let app: SampleApp;

const start = (): Promise<SampleApp> => SampleApp.start(undefined, '09-tenants', { TENANTS_FOLDER: root });

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sample-tenants-'));
  app = await start();
}, 300_000);

afterAll(async () => {
  await app?.stop();
  await rm(root, { recursive: true, force: true });
});

describe('sample 09-tenants', () => {
  it('keeps a database for each tenant, and asks all of them at once', async () => {
    const orders = [
      ['ann', 'Tea', 300],
      ['ann', 'cup', 900],
      ['bob', 'tea', 500],
    ] as const;
    for (const [tenant, item, cents] of orders) {
      expect((await app.request('POST', `/tenants/${tenant}/orders`, { item, cents })).status).toBe(201);
    }
    await app.stop();
    app = await start();
    expect((await app.request('GET', '/tenants/bob/orders')).body).toEqual([{ item: 'tea', cents: 500 }]);
    expect((await app.request('GET', '/revenue')).body).toEqual([
      { tenant: 'tenant-ann', orders: 2, cents: 1200 },
      { tenant: 'tenant-bob', orders: 1, cents: 500 },
    ]);
    const [first] = (await app.request('GET', '/best-sellers')).body as { sold: number; price: number }[];
    expect(first).toMatchObject({ sold: 2, price: 400 });
  });
});
