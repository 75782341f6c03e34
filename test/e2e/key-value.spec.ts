import { connect } from 'nats';
import { KeyValueDenied } from '../../lib/stream/key-value.js';
import type { KeyValueBucket } from '../../lib/stream/key-value.js';
import type { ReplicationStream } from '../../lib/stream/replication-stream.js';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { JetStreamStream } from '../../lib/stream/jetstream/jetstream-stream.js';
import { failureOf, onCleanup, temporaryFolder } from '../helper/cluster.js';
import { JetStreamBackend, memoryBackend, until } from './stream-backends.js';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

// What lib/stream/key-value.ts promises, of every implementation alike.
describe.each([memoryBackend(), new JetStreamBackend()])('a key-value bucket of $name', (backend) => {
  const opened: ReplicationStream[] = [];
  let number = 0;
  let name: string;
  let bucket: KeyValueBucket;

  beforeAll(() => backend.start());
  afterAll(() => backend.end());
  beforeEach(async () => {
    name = `values${++number}`;
    bucket = await open();
  });
  afterEach(() => Promise.all(opened.splice(0).map((one) => one.close())));

  async function stream(): Promise<ReplicationStream> {
    const made = backend.make(name, `${name}.a`);
    await made.open();
    opened.push(made);
    return made;
  }

  async function open(ttlMs?: number): Promise<KeyValueBucket> {
    const bound = await (await stream()).keyValue?.(`${name}_B`, { ttlMs });
    if (bound === undefined) throw new Error('The stream has no buckets.');
    return bound;
  }

  it('holds what was created and updated, with growing revisions and the time', async () => {
    expect(await bucket.get('a.b')).toBeUndefined();
    const first = (await bucket.create('a.b', 'one')) ?? 0;
    expect(await bucket.get('a.b')).toMatchObject({ key: 'a.b', value: 'one', revision: first });
    const other = (await bucket.create('a.c', 'other')) ?? 0;
    expect(other).toBeGreaterThan(first);
    const second = (await bucket.update('a.b', 'two é\n', first)) ?? 0;
    expect(second).toBeGreaterThan(other);
    const entry = await bucket.get('a.b');
    expect(entry).toMatchObject({ value: 'two é\n', revision: second });
    expect(Math.abs((entry?.stored ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  it('refuses what expects another revision, and changes nothing', async () => {
    const first = (await bucket.create('k', 'one')) ?? 0;
    expect(await bucket.create('k', 'again')).toBeUndefined();
    const second = (await bucket.update('k', 'two', first)) ?? 0;
    expect(await bucket.update('k', 'late', first)).toBeUndefined();
    expect(await bucket.update('k', 'early', second + 1)).toBeUndefined();
    expect(await bucket.update('none', 'x', second)).toBeUndefined();
    expect(await bucket.delete('k', first)).toBe(false);
    expect(await bucket.get('k')).toMatchObject({ value: 'two', revision: second });
    expect(await bucket.get('none')).toBeUndefined();
  });

  it('deletes, and lets the key be created again with a larger revision', async () => {
    const first = (await bucket.create('k', 'one')) ?? 0;
    expect(await bucket.delete('k', first)).toBe(true);
    expect(await bucket.get('k')).toBeUndefined();
    expect(await bucket.update('k', 'late', first)).toBeUndefined();
    expect(await bucket.delete('k', first)).toBe(true);
    expect(await bucket.delete('never')).toBe(true);
    const again = (await bucket.create('k', 'two')) ?? 0;
    expect(again).toBeGreaterThan(first);
    expect(await bucket.delete('k')).toBe(true);
    expect(await bucket.get('k')).toBeUndefined();
  });

  it('lets exactly one of many at once win', async () => {
    const buckets = [bucket, ...(await Promise.all([open(), open()]))];
    const many = Array.from({ length: 30 }, (_, index) => buckets[index % 3] as KeyValueBucket);
    const winners = async (attempts: Promise<unknown>[]): Promise<unknown[]> =>
      (await Promise.all(attempts)).filter((answer) => answer !== undefined);
    const created = await winners(many.map((one, index) => one.create('k', String(index))));
    expect(created).toHaveLength(1);
    const revision = created[0] as number;
    expect(await winners(many.map((one, index) => one.update('k', String(index), revision)))).toHaveLength(1);
    await bucket.delete('k');
    expect(await winners(many.map((one, index) => one.create('k', String(index))))).toHaveLength(1);
  });

  it('lists the keys one token below a prefix', async () => {
    for (const key of ['db', 'db.a', 'db.b', 'db.b.c', 'db2.a', 'other.a', 'db.gone'])
      await bucket.create(key, `at ${key}`);
    await bucket.delete('db.gone');
    const entries = await bucket.entries('db');
    expect(entries.map(({ key, value }) => [key, value]).sort(([a = ''], [b = '']) => a.localeCompare(b))).toEqual([
      ['db.a', 'at db.a'],
      ['db.b', 'at db.b'],
    ]);
    expect(await bucket.entries('nobody')).toEqual([]);
  });

  it('takes any text as a token', async () => {
    const keys = ['db.é😀', 'db.a b=c', 'db.$:@', 'db.=41', 'db.A', 'db._', 'dé.x'];
    for (const key of keys) expect(await bucket.create(key, key)).toBeDefined();
    for (const key of keys) expect(await bucket.get(key)).toMatchObject({ key, value: key });
    expect((await bucket.entries('db')).map(({ key }) => key).sort()).toEqual(keys.slice(0, -1).sort());
    expect((await bucket.entries('dé')).map(({ key }) => key)).toEqual(['dé.x']);
  });

  it('forgets what nobody stored again in its time to live', async () => {
    name = `brief${++number}`;
    const brief = await open(1_000);
    let kept = (await brief.create('kept', '0')) ?? 0;
    const lost = (await brief.create('lost', '0')) ?? 0;
    await until(async () => {
      kept = (await brief.update('kept', String(kept), kept)) ?? Number.NaN;
      return (await brief.get('lost')) === undefined;
    });
    expect(await brief.get('kept')).toMatchObject({ revision: kept });
    expect(await brief.update('lost', 'late', lost)).toBeUndefined();
    expect(await brief.create('lost', 'again')).toBeGreaterThan(lost);
  });

  it('is one bucket for all who open it at once', async () => {
    name = `race${++number}`;
    const buckets = await Promise.all(Array.from({ length: 8 }, () => open(60_000)));
    const answers = await Promise.all(buckets.map((one, index) => one.create('k', String(index))));
    expect(answers.filter((answer) => answer !== undefined)).toHaveLength(1);
  });

  it('says that it may be asked again while there is no connection, and goes on behind it', async () => {
    const own = await stream();
    const cutOff = await own.keyValue?.(`${name}_B`, {});
    await bucket.create('k', 'one');
    const restore = await backend.cut([own]);
    expect(await failureOf(cutOff?.get('k') ?? Promise.resolve())).toMatchObject({
      code: 'HA_STREAM_CONNECT',
      retryable: true,
    });
    await restore();
    expect(await cutOff?.get('k')).toMatchObject({ value: 'one' });
  });
});

describe('a key-value bucket on JetStream', () => {
  const JETSTREAM = 'jetstream { store_dir: DIR }';

  async function server(rest: string): Promise<EmbeddedNatsServer> {
    const dir = temporaryFolder();
    const configFile = join(dir, 'nats.conf');
    const storage = JETSTREAM.replace('DIR', JSON.stringify(join(dir, 'store')));
    writeFileSync(configFile, `listen: "127.0.0.1:-1"\n${storage}\n${rest}\n`);
    const made = await EmbeddedNatsServer.acquire({ configFile });
    onCleanup(() => made.release());
    return made;
  }

  async function streamAt(url: string, user: string): Promise<JetStreamStream> {
    const made = new JetStreamStream({
      access: { servers: [url], name: 'test', user, pass: 'x' },
      stream: 's',
      subject: 's.a',
      replicas: 1,
      maxAge: undefined,
      warn: () => undefined,
    });
    onCleanup(() => made.close());
    await made.open();
    return made;
  }

  const user = (permissions: string): string =>
    `authorization { users: [{ user: u, password: x, permissions: { publish: ${permissions}, subscribe: ">" } }] }`;

  it.each([
    ['may not make streams', user('{ deny: ["$JS.API.STREAM.*.KV_B"] }')],
    ['may not write into it', user('{ deny: ["$KV.>"] }')],
    ['may not read it', user('{ deny: ["$JS.API.STREAM.MSG.GET.KV_B"] }')],
    [
      'has no room for one more stream',
      'accounts { A: { jetstream: { max_streams: 1 }, users: [{ user: u, password: x }] } }',
    ],
  ])('is denied where the account %s', async (_what, rest) => {
    const { url } = await server(rest);
    const attempt = async (): Promise<void> => {
      const bucket = await (await streamAt(url, 'u')).keyValue('B', {});
      await bucket.create('k', 'v');
      await bucket.get('k');
    };
    expect(await failureOf(attempt)).toBeInstanceOf(KeyValueDenied);
  });

  it('is made as the stream is, and made again where somebody deleted it', async () => {
    const { url } = await server('authorization { user: u, password: x }');
    const stream = await streamAt(url, 'u');
    const bucket = await stream.keyValue('B', { ttlMs: 30_000 });
    const nc = await connect({ servers: url, user: 'u', pass: 'x' });
    onCleanup(() => nc.close());
    const manager = await nc.jetstreamManager();
    const { config } = await manager.streams.info('KV_B');
    expect(config).toMatchObject({
      num_replicas: 1,
      max_age: 30e9,
      storage: 'file',
      max_msgs_per_subject: 1,
      allow_direct: false,
    });
    await bucket.create('k', 'v');
    await manager.streams.delete('KV_B');
    expect(await bucket.create('k', 'v')).toBeDefined();
    expect(await bucket.get('k')).toMatchObject({ value: 'v' });
  });
});
