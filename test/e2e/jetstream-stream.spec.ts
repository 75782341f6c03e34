import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nanos } from 'nats';
import { findNatsServer } from '../../lib/stream/embedded/binary.js';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { JetStreamStream } from '../../lib/stream/jetstream/jetstream-stream.js';
import type { JetStreamSettings } from '../../lib/stream/jetstream/jetstream-stream.js';
import { takesBatches } from '../../lib/stream/jetstream/server-version.js';
import type { HAError } from '../../lib/common/ha-error.js';
import { NatsProxy } from '../helper/nats-proxy.js';
import { JetStreamBackend, until } from './stream-backends.js';

// What only a real server shows: streams that others made, failing connections, credentials.
const backend = new JetStreamBackend();
const opened: JetStreamStream[] = [];
const children: ChildProcess[] = [];
let warnings: string[];

beforeAll(() => backend.start());
afterAll(() => backend.end());
beforeEach(() => {
  warnings = [];
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((stream) => stream.close()));
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function make(settings: Partial<JetStreamSettings> = {}): JetStreamStream {
  const stream = new JetStreamStream({
    access: { servers: [backend.url], name: 'test' },
    stream: 'made',
    subject: 'made.a',
    replicas: 1,
    maxAge: undefined,
    warn: (message) => void warnings.push(message),
    ...settings,
  });
  opened.push(stream);
  return stream;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

describe('a stream that exists', () => {
  it('is made as go-ha makes it', async () => {
    await make({ stream: 'fresh', subject: 'fresh.a', maxAge: 60_000 }).open();
    const { config } = await (await backend.connection.jetstreamManager()).streams.info('fresh');
    expect(config).toMatchObject({
      subjects: ['fresh', 'fresh.>'],
      storage: 'file',
      retention: 'limits',
      discard: 'old',
      num_replicas: 1,
      max_age: nanos(60_000),
      duplicate_window: nanos(60_000),
    });
    // What go-ha does not know of.
    const isAtomic = (config as { allow_atomic?: boolean }).allow_atomic ?? false;
    expect(isAtomic).toBe(takesBatches(backend.connection.info?.version));
    expect(warnings).toEqual([]);
  });

  it('is left as it is where replicas and age differ, and both values are told', async () => {
    const manager = await backend.connection.jetstreamManager();
    await manager.streams.add({ name: 'other', subjects: ['other.>'], max_age: nanos(3_600_000) });
    const before = (await manager.streams.info('other')).config;
    const stream = make({ stream: 'other', subject: 'other.a', replicas: 3, maxAge: 60_000 });
    expect(await stream.open()).toMatchObject({ replicas: 1 });
    expect(stream.ordering).toBe('chained');
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toMatch(/'other' has 1 replicas.*replicas says 3/);
    expect(warnings[1]).toMatch(/'other'.*3600 s.*streamMaxAge says 60 s/);
    expect((await manager.streams.info('other')).config).toEqual(before);
  });

  it.each([
    ['made.>', 'made.a'],
    ['made.*', 'made.a'],
    ['made.a', 'made.a'],
    ['made', 'made'],
  ])('that listens to %s takes %s', async (pattern, subject) => {
    await withStream(pattern, async () => {
      await expect(make({ subject }).open()).resolves.toMatchObject({ lastSequence: 0 });
    });
  });

  it.each([
    ['made.>', 'made'],
    ['made.*', 'made.a.b'],
    ['made.*', 'made'],
    ['made.b', 'made.a'],
    ['made.a.>', 'made.a'],
  ])('that listens to %s does not take %s', async (pattern, subject) => {
    await withStream(pattern, async () => {
      await expect(make({ subject }).open()).rejects.toMatchObject({
        code: 'HA_STREAM_CONFIG',
        message: expect.stringContaining(pattern),
      });
    });
  });

  async function withStream(pattern: string, run: () => Promise<void>): Promise<void> {
    const manager = await backend.connection.jetstreamManager();
    await manager.streams.add({ name: 'made', subjects: [pattern] });
    try {
      await run();
    } finally {
      await manager.streams.delete('made');
    }
  }

  it('is not taken for one without messages when it is gone', async () => {
    const stream = make({ stream: 'gone', subject: 'gone.a' });
    await stream.open();
    await stream.publish({ id: '1', data: Buffer.from('x') }, 5_000);
    await (await backend.connection.jetstreamManager()).streams.delete('gone');
    await expect(stream.lastSubjectSequence()).rejects.toThrow(/stream not found/);
    await expect(stream.messageAt(1)).rejects.toThrow(/stream not found/);
  });
});

describe('a connection', () => {
  it('that fails is told with the address, without credentials', async () => {
    const port = await freePort();
    const stream = make({ access: { servers: [`nats://alice:s3cret@127.0.0.1:${port}`], name: 'test' } });
    const error: unknown = await stream.open().catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'HA_STREAM_CONNECT', retryable: true });
    expect((error as Error).message).toContain(`127.0.0.1:${port}`);
    for (const secret of ['alice', 's3cret']) {
      expect(`${(error as Error).message} ${stream.description}`).not.toContain(secret);
    }
  });

  it('to a server without JetStream is closed again', async () => {
    const [port, monitor] = [await freePort(), await freePort()];
    const { path } = await findNatsServer();
    children.push(spawn(path, ['-a', '127.0.0.1', '-p', String(port), '-m', String(monitor)], { stdio: 'ignore' }));
    const connections = async (): Promise<number> => {
      const answer = await fetch(`http://127.0.0.1:${monitor}/connz`);
      return ((await answer.json()) as { num_connections: number }).num_connections;
    };
    await until(() => connections().then(Number.isInteger, () => false));
    const stream = make({ access: { servers: [`127.0.0.1:${port}`], name: 'test' } });
    await expect(stream.open()).rejects.toMatchObject({ code: 'HA_STREAM_CONNECT' });
    await until(async () => (await connections()) === 0);
  });

  it('takes user and password from the URL or the settings, and survives a restart with them', async () => {
    const storeDir = await mkdtemp(join(tmpdir(), 'stream-login-'));
    const login = { user: 'us@r', pass: 'p:/ss' };
    const server = await EmbeddedNatsServer.acquire({ port: 0, storeDir, ...login });
    try {
      const host = server.url.slice('nats://'.length);
      const url = `nats://us%40r:p%3A%2Fss@${host}`;
      const stream = make({ access: { servers: [url], name: 'test' } });
      await stream.open();
      await make({ access: { servers: [server.url], name: 'test', ...login } }).open();
      for (const servers of [[server.url], [`nats://us%40r:wrong@${host}`]]) {
        const refused = make({ access: { servers, name: 'test' } }).open();
        await expect(refused).rejects.toMatchObject({ code: 'HA_STREAM_CONNECT' });
      }
      process.kill(server.pid, 'SIGKILL');
      await until(() => !stream.isConnected);
      await until(() => stream.isConnected);
      await expect(stream.publish({ id: '1', data: Buffer.from('x') }, 5_000)).resolves.toMatchObject({ sequence: 1 });
      await Promise.all(opened.splice(0).map((one) => one.close()));
    } finally {
      await server.release();
      await rm(storeDir, { recursive: true, force: true });
    }
  });
});

describe('what is read once', () => {
  const count = async (name: string): Promise<number> =>
    (await (await backend.connection.jetstreamManager()).streams.info(name)).state.consumer_count;

  it('leaves no consumer behind on the server', async () => {
    const stream = make({ stream: 'once', subject: 'once.a' });
    await stream.open();
    for (const id of ['1', '2', '3']) await stream.publish({ id, data: Buffer.from(id) }, 5_000);
    for (let round = 0; round < 3; round++) {
      const seen: number[] = [];
      const subscription = await stream.consume(0, ({ sequence }) => void seen.push(sequence));
      await until(() => seen.length === 3);
      await subscription.stop();
      expect(await stream.startPosition({ kind: 'startTime', time: new Date(0) })).toBe(0);
    }
    await until(async () => (await count('once')) === 0);
  });

  it('is not taken for nothing where the server says nothing in time', async () => {
    const stream = make({ stream: 'slow', subject: 'slow.a' });
    await stream.open();
    const time = new Date();
    for (const id of ['1', '2', '3']) await stream.publish({ id, data: Buffer.from(id) }, 5_000);
    const { js } = (stream as unknown as { session: { js: { consumers: object } } }).session;
    const { consumers } = js;
    // What the client makes of a server that does not answer before its time is over.
    js.consumers = { get: async () => ({ next: async () => null, delete: async () => true }) };
    await expect(stream.startPosition({ kind: 'startTime', time })).rejects.toThrow(/did not tell/);
    js.consumers = consumers;
    expect(await stream.startPosition({ kind: 'startTime', time })).toBe(0);
  });
});

describe('a question whose answer is lost with the line', () => {
  it('fails with the line, to be asked again, and not only when its time is over', async () => {
    const proxy = await NatsProxy.start(backend.url);
    const stream = make({ access: { servers: [proxy.url], name: 'test' }, stream: 'asked', subject: 'asked.a' });
    await stream.open();
    const bucket = await stream.keyValue('asked', {});
    proxy.muteServer();
    const questions: [string, Promise<unknown>][] = [
      ['state', stream.state()],
      ['last', stream.lastSubjectSequence()],
      ['delivery', stream.consume(0, () => undefined)],
      ['bucket', bucket.get('k')],
    ];
    const answers = Promise.all(
      questions.map(async ([name, question]) => {
        const { code, message, retryable } = await question.then(
          () => ({ code: 'none', message: '', retryable: false }),
          (error: HAError) => error,
        );
        return [name, code, retryable, message.includes('the connection was lost')];
      }),
    );
    proxy.cut();
    expect(await answers).toEqual(questions.map(([name]) => [name, 'HA_STREAM_CONNECT', true, true]));
    proxy.restore();
    await until(() => stream.isConnected);
    expect(await stream.lastSubjectSequence()).toBe(0);
    await stream.close();
    await proxy.close();
  });
});
