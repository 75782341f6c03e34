import { createHash, randomBytes } from 'node:crypto';
import { NatsError, connect } from 'nats';
import { OBJECT_CHUNK, ObjectGone } from '../../lib/stream/object-store.js';
import type { ObjectInfo, ObjectStore, UploadFile } from '../../lib/stream/object-store.js';
import type { ReplicationStream } from '../../lib/stream/replication-stream.js';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { JetStreamObjectStore } from '../../lib/stream/jetstream/object-store.js';
import { JetStreamStream } from '../../lib/stream/jetstream/jetstream-stream.js';
import { failureOf, onCleanup, temporaryFolder } from '../helper/cluster.js';
import { JetStreamBackend, memoryBackend, until } from './stream-backends.js';
import { createReadStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';

async function* pieces(...list: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of list) yield piece;
}

async function* read({ path, passed }: UploadFile): AsyncGenerator<Uint8Array> {
  for await (const piece of createReadStream(path)) {
    yield piece as Uint8Array;
    await passed((piece as Uint8Array).length);
  }
}

async function collect(data: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const list: Uint8Array[] = [];
  for await (const piece of data) list.push(piece);
  return Buffer.concat(list);
}

const digestOf = (bytes: Buffer): string =>
  `SHA-256=${createHash('sha256').update(bytes).digest('base64').replaceAll('+', '-').replaceAll('/', '_')}`;

// What lib/stream/object-store.ts promises, of every implementation alike.
describe.each([memoryBackend(), new JetStreamBackend()])('an object store of $name', (backend) => {
  const opened: ReplicationStream[] = [];
  let number = 0;
  let name: string;
  let store: ObjectStore;

  beforeAll(() => backend.start());
  afterAll(() => backend.end());
  beforeEach(async () => {
    name = `objects${++number}`;
    store = await open();
  });
  afterEach(() => Promise.all(opened.splice(0).map((one) => one.close())));

  async function open(): Promise<ObjectStore> {
    const made = backend.make(name, `${name}.a`);
    await made.open();
    opened.push(made);
    const bound = await made.objects?.(`${name}_SNAPSHOTS`);
    if (bound === undefined) throw new Error('The stream has no objects.');
    return bound;
  }

  const put = (data: Buffer, revision: number, object = 'my.db'): Promise<ObjectInfo | undefined> =>
    store.put({ name: object, headers: { seq: '7' }, data: pieces(data), revision });

  it('gives back what was put, with size, digest, headers and time', async () => {
    expect(await store.info('my.db')).toBeUndefined();
    const bytes = randomBytes(3 * OBJECT_CHUNK + 5);
    const stored = await store.put({
      name: 'my.db',
      headers: { seq: '7', other: 'x' },
      data: pieces(bytes.subarray(0, 10), bytes.subarray(10, 300_000), bytes.subarray(300_000)),
      revision: 0,
    });
    const info = (await store.info('my.db')) as ObjectInfo;
    expect(info).toMatchObject({ size: bytes.length, digest: digestOf(bytes), headers: { seq: '7', other: 'x' } });
    expect(info.chunks).toBe(4);
    expect(info.revision).toBe(stored?.revision);
    expect(Math.abs(info.stored - Date.now())).toBeLessThan(60_000);
    expect((await collect(store.read(info))).equals(bytes)).toBe(true);
  });

  it('stores empty objects, and names with any characters', async () => {
    await put(Buffer.alloc(0), 0, 'a b/ü.*>');
    const info = (await store.info('a b/ü.*>')) as ObjectInfo;
    expect(info.size).toBe(0);
    expect(await collect(store.read(info))).toHaveLength(0);
  });

  it('replaces only what is still at the revision that the caller saw', async () => {
    const first = (await put(Buffer.from('one'), 0)) as ObjectInfo;
    expect(await put(Buffer.from('late'), 0)).toBeUndefined();
    const second = (await put(Buffer.from('two'), first.revision)) as ObjectInfo;
    expect(await put(Buffer.from('late'), first.revision)).toBeUndefined();
    expect(second.revision).toBeGreaterThan(first.revision);
    expect((await collect(store.read((await store.info('my.db')) as ObjectInfo))).toString()).toBe('two');
  });

  it('lets one of many at once win, and keeps the bytes of the winner only', async () => {
    const stores = [store, await open(), await open()];
    const all = stores.map((each, index) => ({ each, bytes: randomBytes(OBJECT_CHUNK * (index + 1)) }));
    const results = await Promise.all(
      all.map(({ each, bytes }) => each.put({ name: 'x', headers: {}, data: pieces(bytes), revision: 0 })),
    );
    const winners = results.flatMap((result, index) => (result === undefined ? [] : [index]));
    expect(winners).toHaveLength(1);
    const info = (await store.info('x')) as ObjectInfo;
    expect((await collect(store.read(info))).equals(all[winners[0] ?? -1]?.bytes as Buffer)).toBe(true);
  });

  it('has the old object as long as the new one is uploaded, and for its readers until the next upload', async () => {
    const old = randomBytes(6 * OBJECT_CHUNK);
    const first = (await put(old, 0)) as ObjectInfo;
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    async function* slow(): AsyncGenerator<Uint8Array> {
      yield randomBytes(2 * OBJECT_CHUNK);
      await held;
      yield randomBytes(OBJECT_CHUNK);
    }
    const upload = store.put({ name: 'my.db', headers: {}, data: slow(), revision: first.revision });
    expect((await collect(store.read((await store.info('my.db')) as ObjectInfo))).equals(old)).toBe(true);
    const reading = store.read(first)[Symbol.asyncIterator]();
    const got = [(await reading.next()).value as Buffer];
    release();
    const second = (await upload) as ObjectInfo;
    for (let next = await reading.next(); next.done !== true; next = await reading.next()) got.push(next.value);
    expect(Buffer.concat(got).equals(old)).toBe(true);
    await put(Buffer.from('third'), second.revision);
    await put(Buffer.from('fourth'), ((await store.info('my.db')) as ObjectInfo).revision);
    expect(await failureOf(collect(store.read(first)))).toBeInstanceOf(ObjectGone);
  });

  it('deletes what is at a revision, and takes the name anew', async () => {
    const first = (await put(Buffer.from('one'), 0)) as ObjectInfo;
    expect(await store.delete('my.db', first.revision + 1)).toBe(false);
    expect(await store.delete('my.db', first.revision)).toBe(true);
    expect(await store.info('my.db')).toBeUndefined();
    expect(await failureOf(collect(store.read(first)))).toBeInstanceOf(ObjectGone);
    const again = (await put(Buffer.from('two'), 0)) as ObjectInfo;
    expect(again.revision).toBeGreaterThan(first.revision);
    expect((await collect(store.read(again))).toString()).toBe('two');
  });

  it('stores a file, tells how far it has come, and goes on when it is told to', async () => {
    const [path, bytes] = [join(temporaryFolder(), 'file'), randomBytes(20 * OBJECT_CHUNK + 7)];
    writeFileSync(path, bytes);
    let passed = 0;
    let isHeld = false;
    const file = {
      path,
      passed: async (count: number): Promise<void> => {
        if (isHeld) throw new Error('It did not wait.');
        isHeld = true;
        await new Promise((resolve) => setTimeout(resolve, 5));
        isHeld = false;
        passed += count;
      },
    };
    const stored = await store.put({ name: 'my.db', headers: {}, data: read(file), file, revision: 0 });
    expect(stored).toMatchObject({ size: bytes.length, digest: digestOf(bytes), chunks: 21 });
    expect(passed).toBe(bytes.length);
    expect((await collect(store.read((await store.info('my.db')) as ObjectInfo))).equals(bytes)).toBe(true);
    for (const size of [0, 8 * OBJECT_CHUNK]) {
      writeFileSync(path, bytes.subarray(0, size));
      const { revision } = (await store.info('my.db')) as ObjectInfo;
      expect(await store.put({ name: 'my.db', headers: {}, data: read(file), file, revision })).toMatchObject({ size });
      const info = (await store.info('my.db')) as ObjectInfo;
      expect((await collect(store.read(info))).equals(bytes.subarray(0, size))).toBe(true);
    }
  });

  it('leaves the old object where the upload of a file is ended', async () => {
    const path = join(temporaryFolder(), 'file');
    writeFileSync(path, randomBytes(20 * OBJECT_CHUNK));
    const first = (await put(Buffer.from('one'), 0)) as ObjectInfo;
    const upload = (file: UploadFile): Promise<unknown> =>
      store.put({ name: 'my.db', headers: {}, data: read(file), file, revision: first.revision });
    const ended = upload({
      path,
      passed: () => {
        throw new Error('stopped');
      },
    });
    expect((await failureOf(ended)).message).toBe('stopped');
    const missing = upload({ path: `${path}-none`, passed: () => undefined });
    expect(await failureOf(missing)).toMatchObject({ code: 'ENOENT' });
    expect((await collect(store.read((await store.info('my.db')) as ObjectInfo))).toString()).toBe('one');
  });

  it('leaves the old object where the source fails', async () => {
    const first = (await put(Buffer.from('one'), 0)) as ObjectInfo;
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield randomBytes(OBJECT_CHUNK);
      throw new Error('the disk is gone');
    }
    const failed = store.put({ name: 'my.db', headers: {}, data: broken(), revision: first.revision });
    expect((await failureOf(failed)).message).toBe('the disk is gone');
    expect((await store.info('my.db'))?.id).toBe(first.id);
    expect((await collect(store.read(first))).toString()).toBe('one');
    expect(await put(Buffer.from('two'), first.revision)).toBeDefined();
  });

  it('fails while the server is away, and goes on with a download behind that', async () => {
    const bytes = randomBytes(40 * OBJECT_CHUNK);
    const info = (await put(bytes, 0)) as ObjectInfo;
    const reading = store.read(info)[Symbol.asyncIterator]();
    const got = [(await reading.next()).value as Buffer];
    const restore = await backend.cut(opened);
    expect(await failureOf(store.info('my.db'))).toMatchObject({ code: 'HA_STREAM_CONNECT', retryable: true });
    expect(await failureOf(put(bytes, info.revision))).toMatchObject({ code: 'HA_STREAM_CONNECT', retryable: true });
    await restore();
    if (backend.name === 'JetStreamStream') {
      for (let next = await reading.next(); next.done !== true; next = await reading.next()) got.push(next.value);
      expect(Buffer.concat(got).equals(bytes)).toBe(true);
    }
    await until(() => opened.every((stream) => stream.isConnected));
    expect(await store.info('my.db')).toMatchObject({ size: bytes.length, digest: info.digest });
  });
});

describe('an object store of NATS', () => {
  const backend = new JetStreamBackend();
  beforeAll(() => backend.start());
  afterAll(() => backend.end());

  async function open(stream: string): Promise<ObjectStore> {
    const made = backend.make(stream, `${stream}.a`);
    await made.open();
    onCleanup(() => made.close());
    return made.objects(`${stream}_SNAPSHOTS`);
  }

  it('is read by other clients, and reads what they put', async () => {
    const store = await open('others');
    const theirs = await backend.connection.jetstream().views.os('others_SNAPSHOTS');
    const bytes = randomBytes(2 * OBJECT_CHUNK + 1);
    const info = await store.put({ name: 'my.db', headers: { seq: '12' }, data: pieces(bytes), revision: 0 });
    expect(Buffer.from((await theirs.getBlob('my.db')) as Uint8Array).equals(bytes)).toBe(true);
    const seen = await theirs.info('my.db');
    expect(seen).toMatchObject({ size: bytes.length, digest: digestOf(bytes), chunks: 3 });
    expect(seen?.headers?.get('seq')).toBe('12');
    await theirs.putBlob({ name: 'my.db' }, Buffer.from('of another client'));
    const other = (await store.info('my.db')) as ObjectInfo;
    expect((await collect(store.read(other))).toString()).toBe('of another client');
    expect(await store.put({ name: 'my.db', headers: {}, data: pieces(bytes), revision: info?.revision ?? 0 })).toBe(
      undefined,
    );
  });

  it('removes what uploads that died have left, and nothing else', async () => {
    const store = await open('orphans');
    const other = (await store.put({
      name: 'other.db',
      headers: {},
      data: pieces(randomBytes(9)),
      revision: 0,
    })) as ObjectInfo;
    const first = (await store.put({
      name: 'my.db',
      headers: {},
      data: pieces(randomBytes(9)),
      revision: 0,
    })) as ObjectInfo;
    const { js, left } = { js: backend.connection.jetstream(), left: '$O.orphans_SNAPSHOTS.C.' };
    // As a process leaves it that is killed: pieces under an id of this name that nothing names.
    await js.publish(`${left}${first.id.slice(0, 16)}dead`, randomBytes(100));
    await js.publish(`${left}${other.id.slice(0, 16)}underway`, randomBytes(100));
    await store.put({ name: 'my.db', headers: {}, data: pieces(randomBytes(9)), revision: first.revision });
    const manager = await backend.connection.jetstreamManager();
    const { state } = await manager.streams.info('OBJ_orphans_SNAPSHOTS', { subjects_filter: `${left}>` });
    const kept = Object.keys(state.subjects ?? {}).map((subject) => subject.slice(left.length));
    expect(kept).not.toContain(`${first.id.slice(0, 16)}dead`);
    expect(kept).toEqual(expect.arrayContaining([other.id, first.id, `${other.id.slice(0, 16)}underway`]));
    expect(kept).toHaveLength(4);
  });

  it('sends a file itself where the server takes no second connection', async () => {
    await open('alone');
    const nc = backend.connection;
    const client = { js: nc.jetstream(), jsm: await nc.jetstreamManager(), maxPayload: 1_000_000, version: undefined };
    const store = new JetStreamObjectStore(() => client, {
      bucket: 'alone_SNAPSHOTS',
      replicas: 1,
      servers: 'x',
      access: { servers: ['nats://127.0.0.1:1'], name: 'x' },
    });
    const [path, bytes] = [join(temporaryFolder(), 'file'), randomBytes(300_000)];
    writeFileSync(path, bytes);
    let passed = 0;
    const file = { path, passed: (count: number) => void (passed += count) };
    await store.put({ name: 'my.db', headers: {}, data: read(file), file, revision: 0 });
    expect((await collect(store.read((await store.info('my.db')) as ObjectInfo))).equals(bytes)).toBe(true);
    expect(passed).toBe(bytes.length);
  });

  it('removes what died under a name that nobody uploads to again', async () => {
    const store = await open('forgotten');
    const js = backend.connection.jetstream();
    const first = (await store.put({
      name: 'my.db',
      headers: {},
      data: pieces(randomBytes(9)),
      revision: 0,
    })) as ObjectInfo;
    expect(await store.delete('my.db', first.revision)).toBe(true);
    await js.publish(`$O.forgotten_SNAPSHOTS.C.${first.id.slice(0, 16)}dead`, randomBytes(100));
    await js.publish('$O.forgotten_SNAPSHOTS.C.other', randomBytes(100));
    expect(await store.delete('my.db', 0)).toBe(true);
    const manager = await backend.connection.jetstreamManager();
    const { state } = await manager.streams.info('OBJ_forgotten_SNAPSHOTS', { subjects_filter: '$O.*.C.>' });
    expect(Object.keys(state.subjects ?? {})).toEqual(['$O.forgotten_SNAPSHOTS.C.other']);
  });

  it('keeps the pieces where nobody knows whether the message that names them comes through', async () => {
    await open('late');
    const nc = backend.connection;
    const js = nc.jetstream();
    const jsm = await nc.jetstreamManager();
    let comeThrough = (): Promise<unknown> => Promise.reject(new Error('nothing was sent'));
    const slow = Object.assign(Object.create(js) as typeof js, {
      publish: (subject: string, ...rest: [Uint8Array, object]) => {
        if (!subject.includes('.M.')) return js.publish(subject, ...rest);
        comeThrough = () => js.publish(subject, ...rest);
        return Promise.reject(new NatsError('TIMEOUT', 'TIMEOUT'));
      },
    });
    const store = new JetStreamObjectStore(() => ({ js: slow, jsm, maxPayload: 1_000_000, version: undefined }), {
      bucket: 'late_SNAPSHOTS',
      replicas: 1,
      servers: 'x',
    });
    const bytes = randomBytes(300_000);
    const failed = store.put({ name: 'my.db', headers: {}, data: pieces(bytes), revision: 0 });
    expect(await failureOf(failed)).toMatchObject({ code: 'HA_STREAM_CONNECT' });
    await comeThrough();
    const info = (await store.info('my.db')) as ObjectInfo;
    expect((await collect(store.read(info))).equals(bytes)).toBe(true);
  });

  it('says clearly that there is no room', async () => {
    const store = await open('full');
    const manager = await backend.connection.jetstreamManager();
    const { config } = await manager.streams.info('OBJ_full_SNAPSHOTS');
    await manager.streams.update('OBJ_full_SNAPSHOTS', { ...config, max_bytes: OBJECT_CHUNK });
    const first = (await store.put({
      name: 'my.db',
      headers: {},
      data: pieces(Buffer.from('one')),
      revision: 0,
    })) as ObjectInfo;
    const path = join(temporaryFolder(), 'file');
    writeFileSync(path, randomBytes(3 * OBJECT_CHUNK));
    for (const file of [undefined, { path, passed: () => undefined }]) {
      const data = pieces(randomBytes(3 * OBJECT_CHUNK));
      const large = store.put({ name: 'my.db', headers: {}, data, file, revision: first.revision });
      expect(await failureOf(large)).toMatchObject({ code: 'HA_SNAPSHOT_STORE', retryable: false });
    }
    expect((await collect(store.read((await store.info('my.db')) as ObjectInfo))).toString()).toBe('one');
  });

  it.each([
    ['may not make streams', '{ deny: ["$JS.API.STREAM.*.OBJ_denied_SNAPSHOTS"] }'],
    ['may not write into it', '{ deny: ["$O.>"] }'],
    ['may not read it', '{ deny: ["$JS.API.STREAM.MSG.GET.OBJ_denied_SNAPSHOTS"] }'],
  ])('says clearly that the account %s', async (_what, publish) => {
    const dir = temporaryFolder();
    const configFile = join(dir, 'nats.conf');
    writeFileSync(
      configFile,
      `listen: "127.0.0.1:-1"
jetstream { store_dir: ${JSON.stringify(join(dir, 'store'))} }
authorization { users: [{ user: u, password: x, permissions: { publish: ${publish}, subscribe: ">" } }] }
`,
    );
    const server = await EmbeddedNatsServer.acquire({ configFile });
    onCleanup(() => server.release());
    const stream = new JetStreamStream({
      access: { servers: [server.url], name: 'denied', user: 'u', pass: 'x' },
      stream: 'denied',
      subject: 'denied.a',
      replicas: 1,
      maxAge: undefined,
      warn: () => undefined,
    });
    onCleanup(() => stream.close());
    await stream.open();
    const attempt = async (): Promise<void> => {
      const store = await stream.objects('denied_SNAPSHOTS');
      const file = { path: configFile, passed: () => undefined };
      await store.put({ name: 'my.db', headers: {}, data: read(file), file, revision: 0 });
    };
    expect(await failureOf(attempt)).toMatchObject({ code: 'HA_SNAPSHOT_STORE', retryable: false });
  });

  it('is there for a client that has never heard of us', async () => {
    await open('plain');
    const nc = await connect({ servers: backend.url });
    onCleanup(() => nc.close());
    const status = await (await nc.jetstream().views.os('plain_SNAPSHOTS')).status();
    expect(status).toMatchObject({ bucket: 'plain_SNAPSHOTS', storage: 'file', replicas: 1 });
  });
});
