import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'nats';
import type { ConnectionOptions } from 'nats';
import { cachedPath } from '../../lib/stream/embedded/binary-cache.js';
import { findNatsServer } from '../../lib/stream/embedded/binary.js';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import type { EmbeddedNatsSettings } from '../../lib/stream/embedded/settings.js';
import type { EmbeddedNatsStatus } from '../../lib/stream/embedded/supervisor.js';
import { compileLib } from '../support/compile-lib.js';

const failure = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'HA_NATS_SERVER', message: expect.stringMatching(message) });

let root: string;
const held: EmbeddedNatsServer[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'embedded-nats-'));
  await findNatsServer();
}, 300_000);

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await Promise.all(held.splice(0).map((server) => server.release()));
});

afterAll(() => rm(root, { recursive: true, force: true }));

async function acquire(settings: EmbeddedNatsSettings): Promise<EmbeddedNatsServer> {
  const server = await EmbeddedNatsServer.acquire({ port: 0, ...settings });
  held.push(server);
  return server;
}

const storeDir = (): Promise<string> => mkdtemp(join(root, 'store-'));

async function publish(server: { url: string }, text: string, options: ConnectionOptions = {}): Promise<number> {
  const connection = await connect({ servers: server.url, ...options });
  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name: 'S', subjects: ['s.>'] });
  const { seq } = await connection.jetstream().publish('s.a', text);
  await connection.close();
  return seq;
}

async function readFirst(server: { url: string }): Promise<string> {
  const connection = await connect({ servers: server.url });
  const message = await (await connection.jetstreamManager()).streams.getMessage('S', { seq: 1 });
  await connection.close();
  return message.string();
}

function nextStatus(server: EmbeddedNatsServer, type: EmbeddedNatsStatus['type']): Promise<EmbeddedNatsStatus> {
  return new Promise((done) => {
    const end = server.onStatus((status) => {
      if (status.type !== type) return;
      end();
      done(status);
    });
  });
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await holds()); await sleep(50)) {
    if (Date.now() > deadline) throw new Error('It did not come true within 20 s.');
  }
}

// Not by signal 0: an orphan that ended stays a zombie where the first process of a container reaps none.
function isAlive(pid: number): boolean {
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' });
  return /^[^Z]/.test(stdout.trim());
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

describe('an embedded nats-server', () => {
  it('starts on a free port, keeps messages and leaves nothing behind', async () => {
    const store = await storeDir();
    const server = await acquire({ storeDir: store });
    expect(server.url).toBe(`nats://127.0.0.1:${server.port}`);
    expect(server.port).toBeGreaterThan(0);
    expect(await publish(server, 'one')).toBe(1);
    const { pid } = server;
    await server.release();
    expect(isAlive(pid)).toBe(false);
    expect(await readdir(store)).toEqual(['jetstream']);
    expect(await readFirst(await acquire({ storeDir: store }))).toBe('one');
  });

  it('restarts on the same port with its data when it is killed', async () => {
    const server = await acquire({ storeDir: await storeDir() });
    const { pid, url } = server;
    await publish(server, 'kept');
    const [exit, ready] = [nextStatus(server, 'exit'), nextStatus(server, 'ready')];
    process.kill(pid, 'SIGKILL');
    expect(await exit).toMatchObject({ exit: { code: null, signal: 'SIGKILL' } });
    await ready;
    expect(server.url).toBe(url);
    expect(server.pid).not.toBe(pid);
    expect(await readFirst(server)).toBe('kept');
  });

  it('restarts when its guardian is killed, without leaving the old server behind', async () => {
    const server = await acquire({ storeDir: await storeDir() });
    const { pid, port } = server;
    const ready = nextStatus(server, 'ready');
    process.kill(Number(execFileSync('ps', ['-o', 'ppid=', '-p', String(pid)], { encoding: 'utf8' })), 'SIGKILL');
    await ready;
    expect(isAlive(pid)).toBe(false);
    expect(server.port).toBe(port);
    expect(await publish(server, 'x')).toBe(1);
  });

  it('can be released while it restarts', async () => {
    const server = await acquire({ storeDir: await storeDir() });
    const restarting = nextStatus(server, 'restarting');
    process.kill(server.pid, 'SIGKILL');
    await restarting;
    await server.release();
    await sleep(500);
    expect(isAlive(server.pid)).toBe(false);
  });

  it('is shared by equal settings and stopped by the last holder', async () => {
    const store = await storeDir();
    const [one, two] = await Promise.all([acquire({ storeDir: store }), acquire({ storeDir: store })]);
    expect(two.pid).toBe(one.pid);
    await Promise.all([one.release(), one.release()]);
    expect(isAlive(two.pid)).toBe(true);
    const three = acquire({ storeDir: store });
    await two.release();
    expect((await three).pid).toBe(one.pid);
    const stopping = (await three).release();
    const four = await acquire({ storeDir: store });
    await stopping;
    expect(four.pid).not.toBe(one.pid);
    expect(isAlive(one.pid)).toBe(false);
  });

  it('asks for user and password', async () => {
    const [user, pass] = ['a"b', 'p\\$HOME # {}"\n\té'];
    const server = await acquire({ storeDir: await storeDir(), user, pass, maxPayload: 2_097_152, name: 'guarded' });
    expect(server).toMatchObject({ user, pass });
    await expect(connect({ servers: server.url })).rejects.toThrow(/authorization/i);
    expect(await publish(server, 'x'.repeat(1_500_000), { user, pass })).toBe(1);
  });

  it('runs a configuration file, and keeps a port it chose through a restart', async () => {
    const configFile = join(root, 'own.conf');
    await writeFile(
      configFile,
      `listen: "127.0.0.1:-1"\njetstream { store_dir: ${JSON.stringify(await storeDir())} }\n`,
    );
    const server = await acquire({ configFile });
    const { port } = server;
    await publish(server, 'mine');
    const ready = nextStatus(server, 'ready');
    process.kill(server.pid, 'SIGKILL');
    await ready;
    expect(server.port).toBe(port);
    expect(await readFirst(server)).toBe('mine');
  });
});

describe('what is in the way is named', () => {
  it('another NATS server on the port', async () => {
    const { port, url } = await acquire({ storeDir: await storeDir(), name: 'holder' });
    await expect(acquire({ storeDir: await storeDir(), port })).rejects.toEqual(
      failure(new RegExp(`held by nats-server 'holder' 2\\.\\d.*replicationURL=${url}`)),
    );
  });

  it('another program on the port', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const store = await storeDir();
    await expect(acquire({ storeDir: store, port })).rejects.toEqual(failure(/held by another program/));
    expect(await readdir(store)).not.toContain('nestjs-ha.lock');
    other.close();
  });

  it('another server of this process with other settings', async () => {
    const store = await storeDir();
    const { port } = await acquire({ storeDir: store });
    await expect(acquire({ storeDir: store, name: 'other' })).rejects.toEqual(failure(/storeDir .* other settings/));
    await held.pop()?.release();
    await acquire({ storeDir: store, port });
    await expect(acquire({ storeDir: await storeDir(), port })).rejects.toEqual(failure(/port \d+ and other settings/));
  });

  it('a store folder that cannot be written', async () => {
    const file = join(root, 'file');
    await writeFile(file, '');
    await expect(acquire({ storeDir: join(file, 'store') })).rejects.toEqual(failure(/not writable/));
  });

  it('a configuration file without JetStream, or with an error', async () => {
    const configFile = join(root, 'bad.conf');
    await writeFile(configFile, 'listen: "127.0.0.1:-1"\n');
    await expect(acquire({ configFile })).rejects.toEqual(failure(/without JetStream/));
    await writeFile(configFile, 'nonsense: {');
    await expect(acquire({ configFile })).rejects.toEqual(failure(/ended before it was ready[^]*bad\.conf/));
  });
});

describe('the executable', () => {
  const { PATH, HA_NATS_SERVER } = process.env;

  beforeEach(() => {
    process.env.PATH = '';
    delete process.env.HA_NATS_SERVER;
  });

  afterEach(() => {
    process.env.PATH = PATH;
    if (HA_NATS_SERVER !== undefined) process.env.HA_NATS_SERVER = HA_NATS_SERVER;
  });

  async function script(text: string, name = 'nats-server'): Promise<string> {
    const path = join(await mkdtemp(join(root, 'bin-')), name);
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
    return path;
  }

  it('is refused from the cache when it is not the pinned one', async () => {
    const cacheDir = join(root, 'cache');
    await mkdir(dirname(cachedPath(cacheDir)), { recursive: true });
    await writeFile(cachedPath(cacheDir), 'not nats-server', { mode: 0o755 });
    const search = findNatsServer({ cacheDir, fetch: false });
    await expect(search).rejects.toEqual(
      failure(/PATH: no nats-server[^]*SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}/),
    );
    await expect(search).rejects.toEqual(
      failure(/download: switched off[^]*HA_NATS_SERVER[^]*docker[^]*replicationURL/),
    );
  });

  it('is refused when it is too old or something else', async () => {
    const old = await script('echo "nats-server: v2.8.4"');
    await expect(findNatsServer({ path: old })).rejects.toEqual(failure(/2\.8\.4; 2\.9\.0 or newer/));
    process.env.HA_NATS_SERVER = await script('echo hello', 'other');
    await expect(findNatsServer()).rejects.toEqual(failure(/is no nats-server/));
    await expect(findNatsServer({ path: join(root, 'missing') })).rejects.toEqual(failure(/does not run/));
  });

  it('is taken from PATH before the cache', async () => {
    const path = await script('echo "nats-server: v2.12.0"');
    process.env.PATH = dirname(path);
    expect(await findNatsServer({ fetch: false })).toEqual({ path, version: '2.12.0', origin: 'path' });
  });
});

describe('nestjs-ha nats-server', () => {
  interface Started {
    url: string;
    pid: number;
    app: ChildProcess;
  }

  let bin: string;

  beforeAll(async () => {
    const target = await mkdtemp(join(root, 'lib-'));
    await compileLib(['common', 'stream/embedded', 'cli'], target);
    bin = join(target, 'cli', 'main.js');
  });

  function cli(...args: string[]): ChildProcess {
    const child = spawn(process.execPath, [bin, ...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    children.push(child);
    child.stderr.resume();
    return child;
  }

  async function start(store: string): Promise<Started> {
    const app = cli('nats-server', '--port', '0', '--json', '--store-dir', store);
    const [line] = (await once(app.stdout ?? app, 'data')) as [Buffer];
    return { ...(JSON.parse(line.toString()) as { url: string; pid: number }), app };
  }

  it('takes its server along when it is killed, and the store folder is free again', async () => {
    const store = await storeDir();
    const { app, pid, url } = await start(store);
    await publish({ url }, 'before');
    await expect(acquire({ storeDir: store })).rejects.toEqual(failure(/in use by the nats-server of process \d+/));
    app.kill('SIGKILL');
    await until(() => !isAlive(pid));
    const server = await acquire({ storeDir: store });
    expect(await readFirst(server)).toBe('before');
  });

  it('waits for a lock nobody renews, and takes it', async () => {
    const store = await storeDir();
    await writeFile(join(store, 'nestjs-ha.lock'), JSON.stringify({ token: 't', pid: 1, machine: 'elsewhere' }));
    expect(await publish(await acquire({ storeDir: store }), 'x')).toBe(1);
  });

  it('stops its server on SIGINT to the whole group', async () => {
    const store = await storeDir();
    const { app, pid } = await start(store);
    process.kill(-(app.pid ?? Number.NaN), 'SIGINT');
    expect(await once(app, 'exit')).toEqual([0, null]);
    expect(isAlive(pid)).toBe(false);
    expect(await exists(join(store, 'nestjs-ha.lock'))).toBe(false);
  });

  it('explains an unknown option and a failed start', async () => {
    expect(await once(cli('nats-server', '--nonsense'), 'exit')).toEqual([2, null]);
    expect(await once(cli('nonsense'), 'exit')).toEqual([2, null]);
    expect(await once(cli('nats-server', '--port', 'x'), 'exit')).toEqual([1, null]);
    expect(await once(cli('nats-server', '--fetch-only'), 'exit')).toEqual([0, null]);
    await until(() => children.every((child) => child.exitCode !== null));
  });
});
