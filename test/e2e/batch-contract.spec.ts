import { MemoryBroker } from '../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import { JetStreamStream } from '../../lib/stream/jetstream/jetstream-stream.js';
import { takesBatches } from '../../lib/stream/jetstream/server-version.js';
import { StreamRefusal, StreamRepetition, StreamUnavailable } from '../../lib/stream/replication-stream.js';
import type { OutgoingMessage, PublishReceipt, ReplicationStream } from '../../lib/stream/replication-stream.js';
import { PublishGroup } from '../../lib/publish/publish-group.js';
import { NatsCluster } from '../helper/nats-cluster.js';
import { JetStreamBackend, until } from './stream-backends.js';

interface BatchBackend {
  readonly name: string;
  readonly replicas: number;
  start(): Promise<void>;
  end(): Promise<void>;
  make(stream: string, subject: string): ReplicationStream;
  /** False on a server that is too old. */
  takesBatches(): boolean;
}

function memory(replicas: number): BatchBackend {
  const broker = new MemoryBroker();
  return {
    name: `MemoryStream, ${replicas} replica(s)`,
    replicas,
    start: async () => undefined,
    end: async () => undefined,
    make: (stream, subject) => new MemoryStream({ broker, stream, subject, replicas }),
    takesBatches: () => true,
  };
}

function jetstream(servers: readonly string[], stream: string, subject: string, replicas: number): JetStreamStream {
  const access = { servers: [...servers], name: 'contract' };
  return new JetStreamStream({ access, stream, subject, replicas, maxAge: undefined, warn: () => undefined });
}

let cluster: NatsCluster;

const one = new JetStreamBackend();
const BACKENDS: readonly BatchBackend[] = [
  memory(1),
  memory(3),
  {
    name: 'JetStreamStream, 1 replica',
    replicas: 1,
    start: () => one.start(),
    end: () => one.end(),
    make: (stream, subject) => jetstream([one.url], stream, subject, 1),
    takesBatches: () => takesBatches(one.connection.info?.version),
  },
  {
    name: 'JetStreamStream, 3 replicas',
    replicas: 3,
    start: async () => void (cluster = await NatsCluster.start()),
    end: () => cluster.close(),
    make: (stream, subject) => jetstream(cluster.urls, stream, subject, 3),
    takesBatches: () => takesBatches(cluster.connection.info?.version),
  },
];

const message = (id: string): OutgoingMessage => ({ id, data: Buffer.from(`data of ${id}`) });

function batch(ids: readonly string[], expected?: number): OutgoingMessage[] {
  const [first, ...others] = ids.map(message);
  if (first === undefined) return [];
  return [expected === undefined ? first : { ...first, expect: { lastSubjectSequence: expected } }, ...others];
}

const idsOf = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_value, index) => `${prefix}.${index}`);

// Each server of a cluster knows of a new stream a little later.
describe.each(BACKENDS)('batches on $name', (backend) => {
  const opened: ReplicationStream[] = [];
  let number = 0;
  let name: string;
  let stream: ReplicationStream;

  beforeAll(() => backend.start(), 90_000);
  afterAll(() => backend.end());
  beforeEach(async () => {
    name = `batches${++number}`;
    stream = await open('a');
  });
  afterEach(() => Promise.all(opened.splice(0).map((each) => each.close())));

  async function open(subject: string): Promise<ReplicationStream> {
    const made = backend.make(name, `${name}.${subject}`);
    await made.open();
    opened.push(made);
    return made;
  }

  const store = (ids: readonly string[], expected?: number): Promise<readonly PublishReceipt[]> =>
    stream.publishBatch(batch(ids, expected), 10_000);

  const lastSequence = async (): Promise<number> => (await stream.state()).lastSequence;

  async function expectStored(ids: readonly string[]): Promise<void> {
    const seen: (string | undefined)[] = [];
    const subscription = await stream.consume(0, ({ id }) => void seen.push(id));
    await until(() => seen.length >= ids.length);
    await subscription.stop();
    expect(seen).toEqual(ids);
  }

  it('tells how ordered groups travel', () => {
    const others = backend.takesBatches() ? 'batch' : 'single';
    expect(stream.ordering).toBe(backend.replicas === 1 ? 'chained' : others);
    expect(stream.batchLimit).toBe(backend.takesBatches() ? 1_000 : 1);
  });

  /** A test that has nothing to test on a server that is too old. */
  function itWithBatches(what: string, run: () => Promise<void>): void {
    it(what, async () => {
      if (backend.takesBatches()) await run();
    });
  }

  itWithBatches('stores a batch at consecutive sequences, in order', async () => {
    const first = idsOf('x', 3);
    const large = idsOf('y', 1_000);
    expect(await store(first, 0)).toEqual([1, 2, 3].map((sequence) => ({ sequence, duplicate: false })));
    expect((await store(large, 3)).map(({ sequence }) => sequence)).toEqual(large.map((_id, index) => index + 4));
    expect(await store([], 1_003)).toEqual([]);
    expect(await store(['alone'], 1_003)).toEqual([{ sequence: 1_004, duplicate: false }]);
    await expectStored([...first, ...large, 'alone']);
  });

  itWithBatches('refuses a batch as a whole, again and again, and takes all that comes behind', async () => {
    await store(['1', '2'], 0);
    for (let round = 0; round < 20; round++) {
      const error: unknown = await store([`a${round}`, `b${round}`, `c${round}`], 1).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(StreamRefusal);
      expect(error).toMatchObject({ lastSequence: 2 });
    }
    await expect(stream.publish({ ...message('plain'), expect: { lastSubjectSequence: 1 } }, 5_000)).rejects.toThrow(
      StreamRefusal,
    );
    expect(await lastSequence()).toBe(2);
    expect(await store(['a0', 'b0'], 2)).toMatchObject([{ sequence: 3 }, { sequence: 4 }]);
    expect(await stream.publish(message('plain'), 5_000)).toEqual({ sequence: 5, duplicate: false });
    await expectStored(['1', '2', 'a0', 'b0', 'plain']);
  });

  itWithBatches('stores no id twice, and nothing beside a known one', async () => {
    await store(['1', '2'], 0);
    await expect(store(['1', '2'], 0)).rejects.toBeInstanceOf(StreamRepetition);
    await expect(store(['1', '2'], 2)).rejects.toBeInstanceOf(StreamRepetition);
    await expect(store(['3', '2', '4'], 2)).rejects.toBeInstanceOf(StreamRepetition);
    await expect(store(['3', '3'], 2)).rejects.toBeInstanceOf(StreamRepetition);
    await stream.publish(message('plain'), 5_000);
    await expect(store(['5', 'plain'], 3)).rejects.toBeInstanceOf(StreamRepetition);
    expect(await lastSequence()).toBe(3);
    expect(await store(['3', '4', '5'], 3)).toHaveLength(3);
    expect(await stream.publish(message('4'), 5_000)).toEqual({ sequence: 5, duplicate: true });
    await expectStored(['1', '2', 'plain', '3', '4', '5']);
  });

  itWithBatches('is not disturbed by other subjects', async () => {
    const other = await open('b');
    let last = 0;
    const all: string[] = [];
    for (let round = 0; round < 10; round++) {
      const ids = idsOf(`r${round}`, 20);
      const noise = idsOf(`n${round}`, 40).map((id) => other.publish(message(id), 5_000));
      const receipts = await store(ids, last);
      await Promise.all(noise);
      const first = receipts[0]?.sequence ?? 0;
      expect(receipts.map(({ sequence }) => sequence)).toEqual(ids.map((_id, index) => first + index));
      last = receipts.at(-1)?.sequence ?? 0;
      all.push(...ids);
    }
    await expectStored(all);
  });

  itWithBatches('lets one of several win, whole', async () => {
    const streams = [stream, await open('a'), await open('a')];
    const won: string[] = [];
    for (let round = 0; round < 20; round++) {
      const last = await stream.lastSubjectSequence();
      const attempts = streams.map((each, index) => {
        const ids = idsOf(`${round}.${index}`, 5);
        return each.publishBatch(batch(ids, last), 10_000).then(
          () => ids,
          (error: unknown) => error,
        );
      });
      const answers = await Promise.all(attempts);
      const winners = answers.filter((answer): answer is string[] => Array.isArray(answer));
      expect(winners).toHaveLength(1);
      for (const answer of answers) if (!Array.isArray(answer)) expect(answer).toBeInstanceOf(StreamRefusal);
      won.push(...(winners[0] ?? []));
    }
    await expectStored(won);
  });

  itWithBatches('stores nothing of a batch that is too large', async () => {
    await expect(store(idsOf('x', 1_001), 0)).rejects.toBeInstanceOf(StreamUnavailable);
    expect(await lastSequence()).toBe(0);
    expect(await store(idsOf('x', 2), 0)).toHaveLength(2);
  });
});

describe('batches on a real server', () => {
  beforeAll(async () => {
    cluster = await NatsCluster.start();
  }, 90_000);
  afterAll(() => cluster.close());

  it('are used only where the stream was made for them', async () => {
    const manager = await cluster.manager();
    await manager.streams.add({ name: 'old', subjects: ['old.>'], num_replicas: 3 });
    const before = (await manager.streams.info('old')).config;
    const stream = jetstream(cluster.urls, 'old', 'old.a', 3);
    await stream.open();
    try {
      expect([stream.ordering, stream.batchLimit]).toEqual(['single', 1]);
      if (takesBatches(cluster.connection.info?.version)) {
        await expect(stream.publishBatch(batch(['1', '2'], 0), 5_000)).rejects.toBeInstanceOf(StreamUnavailable);
        expect(await stream.lastSubjectSequence()).toBe(0);
      }
      expect((await manager.streams.info('old')).config).toEqual(before);
    } finally {
      await stream.close();
    }
  });

  it('go on one by one where somebody turns them off', async () => {
    if (!takesBatches(cluster.connection.info?.version)) return;
    const stream = jetstream(cluster.urls, 'off', 'off.a', 3);
    await stream.open();
    try {
      const manager = await cluster.manager();
      const { config } = await manager.streams.info('off');
      const off = { ...config, allow_atomic: false };
      await manager.streams.update('off', off);
      const group = new PublishGroup(stream, 0);
      for (const id of idsOf('x', 5)) group.add(message(id));
      const outcomes = await group.settle(performance.now() + 20_000);
      expect(outcomes).toEqual([1, 2, 3, 4, 5].map((sequence) => ({ kind: 'stored', sequence, again: false })));
      expect(stream.ordering).toBe('single');
    } finally {
      await stream.close();
    }
  });

  it('are whole or absent, and once, although the leaders die', async () => {
    if (!takesBatches(cluster.connection.info?.version)) return;
    const stream = jetstream(cluster.urls, 'dying', 'dying.a', 3);
    await stream.open();
    let last = 0;
    let ended = false;
    const stored = new Map<string, number>();
    const work = (async () => {
      for (let round = 0; !ended; round++) {
        const ids = idsOf(`g${round}`, 8);
        const receipts = await whenAnswered(() => stream.publishBatch(batch(ids, last), 2_000));
        receipts?.forEach(({ sequence }, index) => stored.set(ids[index] ?? '', sequence));
        last = receipts?.at(-1)?.sequence ?? (await whenAnswered(() => stream.lastSubjectSequence())) ?? last;
      }
    })();
    for (let kill = 0; kill < 3; kill++) {
      const before = stored.size;
      await until(() => stored.size > before + 200);
      const restart = await cluster.killLeader('dying');
      await until(() => stored.size > before + 400);
      await restart();
    }
    ended = true;
    await work;
    const ids: string[] = [];
    const consumed: number[] = [];
    const subscription = await stream.consume(0, ({ id, sequence }) => {
      ids.push(id ?? '');
      consumed.push(sequence);
    });
    const end = await stream.lastSubjectSequence();
    await until(() => consumed.at(-1) === end);
    await subscription.stop();
    await stream.close();
    expect(new Set(ids).size).toBe(ids.length);
    for (let at = 0; at < ids.length; at += 8) {
      const round = ids[at]?.split('.')[0] ?? '';
      expect(ids.slice(at, at + 8)).toEqual(idsOf(round, 8));
    }
    const places = new Map(ids.map((id, index) => [id, consumed[index]]));
    for (const [id, sequence] of stored) expect([id, places.get(id)]).toEqual([id, sequence]);
  }, 180_000);
});

/** Asks until the stream says something; undefined where it refuses, or has it already. */
async function whenAnswered<T>(ask: () => Promise<T>): Promise<T | undefined> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof StreamRefusal || error instanceof StreamRepetition) return undefined;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}
