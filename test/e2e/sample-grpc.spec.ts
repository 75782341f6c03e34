import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { until } from '../helper/cluster.js';
import { ProtoClient, valuesOf } from '../helper/grpc-client.js';
import { freePort, SampleApp } from '../support/sample-app.js';

const run = promisify(execFile);
let root: string;
let server: EmbeddedNatsServer;
let first: SampleApp;
let second: SampleApp;
let sales: SampleApp;
const ports: number[] = [];

const node = async (name: string): Promise<SampleApp> => {
  const port = await freePort();
  ports.push(port);
  const address = `grpcPort=${port}&grpcHost=127.0.0.1&grpcToken=secret`;
  const dsn = `file:${root}/${name}.db?name=${name}&replicationID=stock&replicationURL=${server.url}&${address}`;
  return SampleApp.start(dsn, '05-grpc/node');
};

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sample-grpc-'));
  server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: join(root, 'nats') });
  first = await node('stock1');
  second = await node('stock2');
  sales = await SampleApp.start(undefined, '05-grpc/remote', { STOCK_URL: `http://127.0.0.1:${ports[0]}` });
}, 300_000);

afterAll(async () => {
  await sales?.stop();
  await second?.stop();
  await first?.stop();
  await server?.release();
  await rm(root, { recursive: true, force: true });
});

async function cli(port: number | undefined, sql: string): Promise<string> {
  const args = ['dist/cli/main.js', 'cli', `http://127.0.0.1:${port}`, '--json', '-c', sql];
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, HA_GRPC_TOKEN: 'secret' } });
  return stdout;
}

it('serves an application without a database, the command line, and clients of any language, on two nodes', async () => {
  expect(await sales.request('POST', '/deliver/apple/5')).toMatchObject({ status: 204 });
  expect(await sales.request('POST', '/sell/apple/2')).toEqual({ status: 201, body: { name: 'apple', left: 3 } });
  expect(await sales.request('POST', '/sell/apple/9')).toMatchObject({ status: 409 });
  expect(await first.request('GET', '/items')).toMatchObject({ body: [{ name: 'apple', count: 3 }] });
  await until(async () => JSON.stringify(await second.request('GET', '/items')).includes('"count":3'));
  expect(await cli(ports[1], `INSERT INTO item VALUES('pear', 7) RETURNING name, count`)).toBe(
    '[{"name":"pear","count":7}]\n',
  );
  const client = new ProtoClient(`127.0.0.1:${ports[0]}`, { token: 'secret' });
  const session = client.session('stock');
  await until(async () => valuesOf(await session.query('SELECT count FROM item ORDER BY name')).join() === '3,7');
  await session.end();
  client.close();
});

it('refuses whoever has no token', async () => {
  const client = new ProtoClient(`127.0.0.1:${ports[0]}`);
  await expect(client.unary('ReplicationIDs')).rejects.toMatchObject({ code: 16 });
  client.close();
});

it('ends on SIGTERM although sessions are open', async () => {
  const client = new ProtoClient(`127.0.0.1:${ports[1]}`, { token: 'secret' });
  const session = client.session('stock');
  expect((await session.exec('BEGIN')).error).toBe('');
  expect(await second.stop()).toBe('SIGTERM');
  await expect(session.next()).rejects.toMatchObject({ code: 14 });
  client.close();
}, 120_000);
