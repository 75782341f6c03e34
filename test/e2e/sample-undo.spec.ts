import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SampleApp } from '../support/sample-app.js';

let root: string;
let app: SampleApp;

interface Entry {
  sequence: string;
  who?: string;
  what?: string;
  sql: string[];
}

const dsn = (): string => `file:${root}/accounts.db?name=node1&replicationID=accounts&streamMaxAge=720h`;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sample-undo-'));
  app = await SampleApp.start(dsn(), '07-undo');
}, 300_000);

afterAll(async () => {
  await app?.stop();
  await rm(root, { recursive: true, force: true });
});

async function write(who: string, path: string, body: unknown): Promise<void> {
  const headers = { 'content-type': 'application/json', 'x-user': who };
  const response = await fetch(`${app.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(response.status).toBe(201);
}

async function audit(query = ''): Promise<Entry[]> {
  return (await app.request('GET', `/audit${query}`)).body as Entry[];
}

async function balances(): Promise<number[]> {
  const { body } = await app.request('GET', '/accounts');
  return (body as { balance: number }[]).map(({ balance }) => balance);
}

it('shows who changed what, takes the mistake back, and that too', async () => {
  await write('ann', '/accounts', { owner: 'Ann', balance: 1_000 });
  await write('bob', '/accounts', { owner: 'Bob', balance: 200 });
  await write('eve', '/accounts/interest', { percent: 50 });
  expect(await balances()).toEqual([1_500, 300]);
  const [newest] = await audit('?since=1h&table=accounts');
  expect(newest).toMatchObject({ who: 'eve', what: 'pays 50 % of interest' });
  const undo = `/audit/${newest?.sequence}/undo`;
  expect((await app.request('GET', undo)).body).toMatchObject({
    rows: 3,
    sql: expect.arrayContaining([`UPDATE "accounts" SET "balance" = 1000 WHERE "id" = 1`]),
    conflicts: [],
  });
  expect(await balances()).toEqual([1_500, 300]);
  const { body } = await app.request('POST', undo);
  expect(await balances()).toEqual([1_000, 200]);
  await app.request('POST', `/audit/${(body as { sequence: string }).sequence}/undo`);
  expect(await balances()).toEqual([1_500, 300]);
});

it('remembers across a restart', async () => {
  const before = await audit();
  await app.stop();
  app = await SampleApp.start(dsn(), '07-undo');
  expect(await audit()).toEqual(before);
});

it.each([
  ['GET', '/audit/99999/undo', 404],
  ['POST', '/audit/99999/undo', 404],
  ['POST', '/audit/nonsense/undo', 400],
  ['POST', '/audit/1/undo', 422],
  ['GET', '/audit?since=-5m', 404],
])('%s %s is answered with %i', async (method, path, status) => {
  expect((await app.request(method, path)).status).toBe(status);
});
