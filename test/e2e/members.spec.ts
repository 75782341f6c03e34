import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { HAOptions } from '../../lib/config/options.js';
import { machineId } from '../../lib/common/machine.js';
import { resolveOptions } from '../../lib/config/resolve.js';
import { subjectOf } from '../../lib/config/normalize.js';
import { VERSION } from '../../lib/common/version.js';
import type { HAEvent } from '../../lib/common/events.js';
import { HARuntime } from '../../lib/ha-runtime.js';
import type { KeyValueBucket } from '../../lib/stream/key-value.js';
import { readRecord } from '../../lib/stream/membership/member.js';
import type { MemberRecord } from '../../lib/stream/membership/member.js';
import { MemoryBroker } from '../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import { HADatabase } from '../../lib/write/ha-database.js';
import { collect, failureOf, onCleanup, pause, startCluster, temporaryFolder, until } from '../helper/cluster.js';
import type { TestNode } from '../helper/cluster.js';
import { compileMember, MemberProcess, removeMember } from '../support/member-process.js';
import { JetStreamBackend } from './stream-backends.js';

const HEARTBEAT_MS = 2_000;
/** So long that a test which has to wait for one of them fails. */
const NEVER_MS = 600_000;

/** Where nodes of one stream are made. */
interface Bed {
  readonly name: string;
  /** Makes a node without starting it. */
  node(options: HAOptions, heartbeatMs?: number): Promise<TestNode>;
  /** The bucket of the members, or of the slots of ids. */
  bucket(of?: 'MEMBERS' | 'IDS'): Promise<KeyValueBucket>;
  /** Cuts the line of a node; returns what restores it. */
  cut(node: TestNode): Promise<() => void>;
}

const beds: readonly [string, () => Promise<Bed>][] = [
  ['memory', memoryBed],
  ['NATS', natsBed],
];

async function memoryBed(): Promise<Bed> {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const streams = new Map<TestNode, MemoryStream>();
  let count = 0;
  return {
    name: 's',
    node: async (options, heartbeatMs = HEARTBEAT_MS) => {
      const path = join(dir, `${++count}.db`);
      const resolved = resolveOptions(`file:${path}`, { replicationID: 'db', replicationStream: 's', ...options }, {});
      const stream = new MemoryStream({ broker, stream: 's', subject: subjectOf('s', resolved.replicationID) });
      const log: string[] = [];
      const extras = { logger: collect(log), retryAttempts: 0, retryDelay: 1, stream, heartbeatMs };
      const runtime = new HARuntime(resolved, extras);
      const events: HAEvent[] = [];
      const watching = runtime.events.subscribe((event) => events.push(event));
      const made: TestNode = { db: new HADatabase(runtime), runtime, path, events, log, watching };
      onCleanup(() => made.db.close());
      streams.set(made, stream);
      return made;
    },
    bucket: async (of = 'MEMBERS') => {
      const stream = new MemoryStream({ broker, stream: 's', subject: 's.db' });
      await stream.open();
      return stream.keyValue(`s_${of}`, of === 'IDS' ? {} : { ttlMs: 30_000 });
    },
    cut: async (node) => {
      const stream = streams.get(node);
      stream?.disconnect();
      return () => stream?.connect();
    },
  };
}

async function natsBed(): Promise<Bed> {
  const cluster = await startCluster({ nodes: 0, proxy: true });
  const made = (options: HAOptions, heartbeatMs = HEARTBEAT_MS): TestNode => {
    // All of them through the proxy, so that each can be cut off; the helper's own numbering is not used.
    const node = cluster.make({ options, heartbeatMs, url: cluster.proxy.url });
    onCleanup(() => node.db.close());
    return node;
  };
  return {
    name: cluster.stream,
    node: async (options, heartbeatMs) => made(options, heartbeatMs),
    bucket: async (of = 'MEMBERS') => {
      const { JetStreamStream } = await import('../../lib/stream/jetstream/jetstream-stream.js');
      const stream = new JetStreamStream({
        access: { servers: [cluster.url], name: 'test' },
        stream: cluster.stream,
        subject: cluster.subject,
        replicas: 1,
        maxAge: undefined,
        warn: () => undefined,
      });
      await stream.open();
      onCleanup(() => stream.close());
      return stream.keyValue(`${cluster.stream}_${of}`, of === 'IDS' ? {} : { ttlMs: 30_000 });
    },
    cut: async (node) => {
      cluster.proxy.cut();
      await until(() => !node.db.status().connected);
      return () => cluster.proxy.restore();
    },
  };
}

/** The value of a node of another session, as its process would store it. */
function forged(changes: Partial<MemberRecord> = {}): string {
  const record: MemberRecord = {
    node: 'n1',
    process: '1758574275000000000',
    version: VERSION,
    role: 'peer',
    received: 0,
    address: '192.0.2.1',
    time: new Date().toISOString(),
    host: 'elsewhere',
    machine: 'elsewhere',
    pid: 4711,
    thread: 0,
    session: randomUUID(),
    ...changes,
  };
  return JSON.stringify(record);
}

const taken = (text: string): unknown =>
  expect.objectContaining({ code: 'HA_NODE_NAME_TAKEN', retryable: false, message: expect.stringContaining(text) });

describe.each(beds)('members through %s', (_name, make) => {
  let bed: Bed;

  beforeEach(async () => {
    bed = await make();
  });

  async function start(options: HAOptions, heartbeatMs?: number): Promise<TestNode> {
    const node = await bed.node(options, heartbeatMs);
    await node.db.start();
    return node;
  }

  it('are listed with what they are and how far they got, and are gone when they stop', async () => {
    const peer = await start({ name: 'n1' });
    await peer.db.exec('CREATE TABLE t(v)');
    const replica = await start({ name: 'n2', disablePublisher: true });
    const publisher = await start({ name: 'n0', disableSubscriber: true });
    await until(async () => (await peer.db.members()).every(({ received }) => received === 1n || received === 0n));
    const members = await peer.db.members();
    const common = { version: VERSION, host: hostname(), pid: process.pid, seen: expect.any(Date) as Date };
    expect(members).toMatchObject([
      { ...common, name: 'n0', role: 'publisher', lag: undefined, self: false },
      { ...common, name: 'n1', role: 'peer', received: 1n, lag: 0n, self: true },
      { ...common, name: 'n2', role: 'replica', received: 1n, lag: 0n, self: false },
    ]);
    expect((await replica.db.members()).map(({ name, self }) => [name, self])).toEqual([
      ['n0', false],
      ['n1', false],
      ['n2', true],
    ]);
    await replica.db.close();
    await publisher.db.close();
    expect((await peer.db.members()).map(({ name }) => name)).toEqual(['n1']);
    expect(await (await bed.bucket()).entries('db')).toHaveLength(1);
  });

  it('refuse a second node of one name in the same process, without waiting', async () => {
    const first = await start({ name: 'n1' }, NEVER_MS);
    const second = await bed.node({ name: 'n1' }, NEVER_MS);
    const error = await failureOf(second.db.start());
    expect(error).toEqual(taken(`process ${process.pid} on host '${hostname()}'`));
    expect(error.message).toMatch(/option name/);
    const alike = await bed.node({ name: '.n1' }, NEVER_MS);
    expect(await failureOf(alike.db.start())).toEqual(taken(`'n1' and '.n1' count as one name`));
    await first.db.exec('CREATE TABLE t(v)');
    await first.db.close();
    await second.db.start();
    expect(await second.db.all('SELECT * FROM t')).toEqual([]);
  });

  it('let exactly one of many win that start with one name at once', async () => {
    const nodes = await Promise.all(Array.from({ length: 6 }, () => bed.node({ name: 'n1' }, NEVER_MS)));
    const starts = await Promise.allSettled(nodes.map(({ db }) => db.start()));
    expect(starts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const outcome of starts) {
      if (outcome.status === 'rejected') expect(outcome.reason).toEqual(taken(`'n1' is running already`));
    }
  });

  it('refuse a name whose node on another machine is seen to live', async () => {
    const bucket = await bed.bucket();
    let revision = (await bucket.create('db.n1', forged())) ?? 0;
    const beat = setInterval(() => {
      void bucket.update('db.n1', forged(), revision).then((next) => (revision = next ?? revision));
    }, 300);
    const node = await bed.node({ name: 'n1' });
    const error = await failureOf(node.db.start());
    clearInterval(beat);
    expect(error).toEqual(taken(`process 4711 on host 'elsewhere' at 192.0.2.1`));
  });

  it('take over a name whose node on another machine is silent', async () => {
    const bucket = await bed.bucket();
    await bucket.create('db.n1', forged());
    const node = await start({ name: 'n1' }, 200);
    const record = readRecord((await bucket.get('db.n1'))?.value ?? '');
    expect(record).toMatchObject({ node: 'n1', pid: process.pid, machine: machineId() });
    await node.db.close();
    expect(await bucket.get('db.n1')).toBeUndefined();
  });

  it.each([
    ['a process of this machine that is gone', { pid: 2 ** 22 + 1 }],
    ['this process under a session that is gone', { pid: process.pid }],
    ['nobody that can be read', undefined],
  ])('take over a name at once from %s', async (_what, holder) => {
    const bucket = await bed.bucket();
    await bucket.create('db.n1', holder === undefined ? 'nonsense' : forged({ machine: machineId(), ...holder }));
    const { db } = await start({ name: 'n1' }, NEVER_MS);
    await db.exec('CREATE TABLE t(v)');
  });

  it.each([
    ['that follows and writes', {}],
    ['that only writes', { disableSubscriber: true }],
  ])('stop a node %s when its name was taken while it was paused', async (_what, options) => {
    const node = await start({ name: 'n1', ...options, disableDDLSync: true }, 200);
    await node.db.exec('CREATE TABLE t(v)');
    const bucket = await bed.bucket();
    const other = forged({ pid: 1234 });
    await until(async () => {
      const entry = await bucket.get('db.n1');
      return (await bucket.update('db.n1', other, entry?.revision ?? 0)) !== undefined;
    });
    await until(() => node.events.some(({ type }) => type === 'halted'));
    expect(node.events.find(({ type }) => type === 'halted')).toMatchObject({ error: taken('process 1234') });
    expect(node.db.status()).toMatchObject({ state: 'halted', lastError: taken('process 1234') });
    expect(await failureOf(node.db.run('INSERT INTO t VALUES(1)'))).toEqual(taken('Nothing is applied or written'));
    expect(await node.db.all('SELECT * FROM t')).toEqual([]);
    await node.db.close();
    expect((await bucket.get('db.n1'))?.value).toBe(other);
  });

  it('come back by themselves where their entry expired', async () => {
    const node = await start({ name: 'n1' }, 200);
    const bucket = await bed.bucket();
    await bucket.delete('db.n1');
    await bucket.delete('db');
    await until(async () => (await bucket.get('db.n1')) !== undefined && (await bucket.get('db')) !== undefined);
    expect(node.db.status().state).toBe('running');
  });

  it('outlast a lost connection', async () => {
    const node = await start({ name: 'n1' }, 200);
    const bucket = await bed.bucket();
    const restore = await bed.cut(node);
    await bucket.delete('db.n1');
    await pause(1_000);
    expect(await failureOf(node.db.members())).toBeDefined();
    restore();
    await until(async () => (await bucket.get('db.n1')) !== undefined);
    expect(node.db.status()).toMatchObject({ state: 'running', connected: true });
    await node.db.exec('CREATE TABLE t(v)');
  });

  it('refuse another replication ID with the same subject, as long as a node of the first lives', async () => {
    const first = await start({ name: 'n1', replicationID: 'my.db' }, 200);
    const second = await bed.node({ name: 'n2', replicationID: 'my_db' }, 200);
    const error = await failureOf(second.db.start());
    expect(error).toMatchObject({ code: 'HA_SUBJECT_TAKEN', retryable: false });
    expect(error.message).toMatch(/'my_db' and 'my\.db' share the subject '\w+\.my_db'.*Set replicationID/);
    const bucket = await bed.bucket();
    const revision = (await bucket.get('my_db'))?.revision ?? 0;
    await until(async () => ((await bucket.get('my_db'))?.revision ?? 0) > revision);
    await start({ name: 'n2', replicationID: 'my.db' });
    expect(await first.db.members()).toHaveLength(2);
  });

  it('stop a node whose subject was claimed by another replication ID while it was away', async () => {
    const node = await start({ name: 'n1' }, 200);
    const bucket = await bed.bucket();
    await until(async () => {
      const entry = await bucket.get('db');
      return (await bucket.update('db', JSON.stringify({ replicationID: '_db' }), entry?.revision ?? 0)) !== undefined;
    });
    await until(() => node.db.status().state === 'halted');
    expect(await failureOf(node.db.exec('CREATE TABLE t(v)'))).toMatchObject({ code: 'HA_SUBJECT_TAKEN' });
  });

  it('have a slot of ids each, keep it across a restart, and give it back when they stop', async () => {
    const nodes = await Promise.all(['n1', 'n2', 'n3'].map((name) => start({ name })));
    const slots = nodes.map(({ runtime }) => runtime.idSlots.slot());
    expect([...slots].sort((a, b) => a - b)).toEqual([0, 1, 2]);
    const [, second] = nodes as [TestNode, TestNode, TestNode];
    const newest = Date.now() - 1;
    second.runtime.idSlots.holder = { highest: () => newest };
    await second.db.stop();
    const bucket = await bed.bucket('IDS');
    const stored = JSON.parse((await bucket.get(`db.${slots[1]}`))?.value ?? '') as unknown;
    expect(stored).toMatchObject({ node: 'n2', released: true, until: newest });
    expect(await failureOf(async () => second.runtime.idSlots.slot())).toMatchObject({ code: 'HA_ID_SLOTS' });
    await second.db.start();
    expect(second.runtime.idSlots.slot()).toBe(slots[1]);
    expect(second.runtime.idSlots.floor).toBe(newest);
  });

  it('renew their slots, and start without one where all are taken', async () => {
    const bucket = await bed.bucket('IDS');
    const record = { node: 'other', session: 'x', until: 0, used: Date.now(), released: false };
    await Promise.all(Array.from({ length: 256 }, (_, slot) => bucket.create(`db.${slot}`, JSON.stringify(record))));
    const node = await start({ name: 'n1' }, 200);
    expect(await failureOf(async () => node.runtime.idSlots.slot())).toMatchObject({
      code: 'HA_ID_SLOTS',
      message: expect.stringContaining('all 256 are taken') as string,
    });
    await node.db.exec('CREATE TABLE t(v)');
    const free = await bucket.get('db.200');
    await bucket.update('db.200', JSON.stringify({ ...record, released: true }), free?.revision ?? 0);
    const slot = (): number | undefined => {
      try {
        return node.runtime.idSlots.slot();
      } catch {
        return undefined;
      }
    };
    await until(() => slot() === 200);
    const taken = (await bucket.get('db.200'))?.revision ?? 0;
    await until(async () => ((await bucket.get('db.200'))?.revision ?? 0) > taken);
  });
});

describe('members', () => {
  it('are one, itself, where the database is standalone', async () => {
    const path = join(temporaryFolder(), 'alone.db');
    const extras = { logger: collect([]), retryAttempts: 0, retryDelay: 1 };
    const runtime = new HARuntime(resolveOptions(`file:${path}`, { name: 'alone' }, {}), extras);
    const db = new HADatabase(runtime);
    onCleanup(() => db.close());
    expect(await db.members()).toMatchObject([
      { name: 'alone', role: 'standalone', received: 0n, lag: 0n, self: true },
    ]);
    const slot = runtime.idSlots.slot();
    expect(slot).toBeGreaterThanOrEqual(0);
    expect(slot).toBeLessThan(256);
  });
});

describe('an account that permits no key-value buckets', () => {
  it('is told of, and replication goes on without members', async () => {
    const cluster = await startCluster({
      nodes: 0,
      server: { configFile: await confined('{ deny: ["$JS.API.STREAM.*.KV_>", "$KV.>"] }') },
    });
    const one = await cluster.add({ options: { name: 'n1' } });
    const two = await cluster.add({ options: { name: 'n2' } });
    const warnings = one.log.filter((line) => /key-value bucket/.test(line));
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain(`${cluster.stream}_MEMBERS`);
    expect(warnings[0]).toMatch(/Replication goes on.*a second node of its name is not noticed.*Allow this account/);
    expect((await one.db.members()).map(({ name }) => name)).toEqual(['n1']);
    expect(await failureOf(async () => one.runtime.idSlots.slot())).toMatchObject({
      code: 'HA_ID_SLOTS',
      message: expect.stringContaining('does not permit') as string,
    });
    await one.db.exec('CREATE TABLE t(v); INSERT INTO t VALUES(1)');
    await cluster.settle();
    expect(await two.db.all('SELECT * FROM t')).toEqual([{ v: 1 }]);
  });

  async function confined(permissions: string): Promise<string> {
    const { writeFileSync } = await import('node:fs');
    const dir = temporaryFolder();
    const file = join(dir, 'nats.conf');
    writeFileSync(
      file,
      `listen: "127.0.0.1:-1"
jetstream { store_dir: ${JSON.stringify(join(dir, 'store'))} }
no_auth_user: u
accounts { A: { jetstream: enabled, users: [{ user: u, password: x, permissions: { publish: ${permissions}, subscribe: ">" } }] } }
`,
    );
    return file;
  }
});

describe('nodes in processes of their own', () => {
  let folder: string;
  const backend = new JetStreamBackend();
  const processes: MemberProcess[] = [];
  let number = 0;

  beforeAll(async () => {
    folder = await compileMember();
    await backend.start();
  });
  afterEach(async () => {
    await Promise.all(processes.splice(0).map((one) => one.kill()));
  });
  afterAll(async () => {
    await backend.end();
    removeMember(folder);
  });

  function spawn(dsn: string, heartbeatMs?: number): MemberProcess {
    const made = MemberProcess.start(folder, dsn, heartbeatMs);
    processes.push(made);
    return made;
  }

  function dsns(): string[] {
    const dir = temporaryFolder();
    const query = `name=n1&replicationID=db&replicationStream=p${++number}&replicationURL=${backend.url}`;
    return ['a', 'b'].map((file) => `file:${join(dir, file)}.db?${query}`);
  }

  it('are refused where one with the name lives', async () => {
    const [a = '', b = ''] = dsns();
    const first = spawn(a, 1_000);
    expect(await first.next()).toEqual({ type: 'ready' });
    const second = spawn(b, 1_000);
    expect(await second.next()).toMatchObject({
      type: 'failed',
      code: 'HA_NODE_NAME_TAKEN',
      message: expect.stringContaining(`process ${first.pid} on host '${hostname()}'`) as string,
    });
    expect(await first.exec('CREATE TABLE t(v)')).toEqual({ type: 'done' });
  });

  it('take over at once where it was killed', async () => {
    const [a = '', b = ''] = dsns();
    for (const dsn of [a, a, b]) {
      const node = spawn(dsn, NEVER_MS);
      expect(await node.next()).toEqual({ type: 'ready' });
      expect(await node.exec('CREATE TABLE IF NOT EXISTS t(v)')).toEqual({ type: 'done' });
      await node.kill();
    }
  });

  it('stop following and writing where another took the name while they were paused', async () => {
    const [a = '', b = ''] = dsns();
    const first = spawn(a, 500);
    expect(await first.next()).toEqual({ type: 'ready' });
    expect(await first.exec('CREATE TABLE t(v)')).toEqual({ type: 'done' });
    first.signal('SIGSTOP');
    const second = spawn(b, 500);
    expect(await second.next()).toEqual({ type: 'ready' });
    first.signal('SIGCONT');
    expect(await first.next()).toMatchObject({
      type: 'halted',
      code: 'HA_NODE_NAME_TAKEN',
      message: expect.stringContaining(`process ${second.pid}`) as string,
    });
    expect(await first.exec('INSERT INTO t VALUES(1)')).toMatchObject({ type: 'refused', code: 'HA_NODE_NAME_TAKEN' });
    expect(await second.exec('INSERT INTO t VALUES(2)')).toEqual({ type: 'done' });
  });
});
