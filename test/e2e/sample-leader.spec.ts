import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { until } from '../helper/cluster.js';
import { freePort, SampleApp } from '../support/sample-app.js';

const run = promisify(execFile);

it('loses no order and sells none twice while leaders are killed and stopped', async () => {
  const { stdout } = await run(process.execPath, ['build/sample/06-leader/load/main.js', '40'], { timeout: 580_000 });
  expect(stdout).toContain('ended with SIGKILL;');
  expect(stdout).toContain('ended with SIGTERM;');
  const [, placed = '0'] = /orders placed +(\d+)/.exec(stdout) ?? [];
  expect(Number(placed)).toBeGreaterThanOrEqual(120);
  expect(stdout).toMatch(new RegExp(`orders stored +${placed}, of those placed 0 lost`));
  expect(stdout).toMatch(/refused or not found +0\n/);
  expect(stdout).toContain('No order was lost, and none was sold twice.');
}, 600_000);

describe('three nodes', () => {
  let root: string;
  let server: EmbeddedNatsServer;
  const nodes: SampleApp[] = [];

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'sample-leader-'));
    server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: join(root, 'nats') });
    const ports = [await freePort(), await freePort(), await freePort()];
    const start = (port: number, index: number): Promise<SampleApp> => {
      const leader = `clusterSize=3&leaderProvider=dynamic:http://127.0.0.1:${port}`;
      const dsn = `file:${root}/o${index}.db?name=node${index}&replicationID=orders&replicationURL=${server.url}&${leader}`;
      return SampleApp.start(dsn, '06-leader', { PORT: String(port) });
    };
    nodes.push(...(await Promise.all(ports.map(start))));
  }, 300_000);

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await server?.release();
    await rm(root, { recursive: true, force: true });
  });

  interface State {
    leads: boolean;
    leader?: string;
  }
  const states = (): Promise<State[]> =>
    Promise.all(nodes.map(async (node) => (await node.request('GET', '/leader')).body as State));

  it('have one leader, and take orders at any of them', async () => {
    await until(async () => {
      const all = await states();
      return all.filter(({ leads }) => leads).length === 1 && new Set(all.map(({ leader }) => leader)).size === 1;
    });
    for (const node of nodes) {
      const id = randomUUID();
      const order = { item: 'apple', quantity: 2 };
      const put = await fetch(`${node.url}/orders/${id}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(order),
      });
      expect(put.status).toBe(200);
      const sequence = put.headers.get('x-ha-txseq') ?? '';
      expect(put.headers.get('set-cookie')).toBe(`_txseq=${sequence}; Max-Age=300; Path=/; HttpOnly`);
      for (const other of nodes) {
        const got = await fetch(`${other.url}/orders/${id}`, { headers: { cookie: `_txseq=${sequence}` } });
        expect(await got.json()).toEqual({ id, ...order });
      }
    }
    expect(await nodes[0]?.request('PUT', '/orders/no-id', {})).toMatchObject({ status: 400 });
  });

  it('tell where the leader is with forward=false', async () => {
    const all = await states();
    const follower = nodes[all.findIndex(({ leads }) => !leads)];
    const path = `/orders/${randomUUID()}?forward=false`;
    const answer = await fetch(`${follower?.url}${path}`, { method: 'PUT', redirect: 'manual' });
    expect(answer.status).toBe(307);
    expect(answer.headers.get('location')).toBe(`${all[0]?.leader}${path}`);
  });
});
