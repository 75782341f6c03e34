import { setTimeout as sleep } from 'node:timers/promises';
import { StreamRefusal, StreamUnavailable } from '../../lib/stream/replication-stream.js';
import type {
  IncomingMessage,
  PublishExpectation,
  PublishReceipt,
  ReplicationStream,
  StreamStatus,
} from '../../lib/stream/replication-stream.js';
import { JetStreamBackend, memoryBackend, until } from './stream-backends.js';

// What lib/stream/replication-stream.ts promises, of every implementation alike.
describe.each([memoryBackend(), new JetStreamBackend()])('$name', (backend) => {
  const opened: ReplicationStream[] = [];
  let number = 0;
  let name: string;
  let stream: ReplicationStream;

  beforeAll(() => backend.start());
  afterAll(() => backend.end());
  beforeEach(async () => {
    name = `contract${++number}`;
    stream = await open('a');
  });
  afterEach(() => Promise.all(opened.splice(0).map((one) => one.close())));

  async function open(subject: string): Promise<ReplicationStream> {
    const made = backend.make(name, `${name}.${subject}`);
    await made.open();
    opened.push(made);
    return made;
  }

  const publish = (id: string, expect?: PublishExpectation, to = stream): Promise<PublishReceipt> =>
    to.publish({ id, data: Buffer.from(`data of ${id}`), ...(expect === undefined ? {} : { expect }) }, 5_000);

  async function publishAll(ids: readonly string[], to = stream): Promise<void> {
    await Promise.all(ids.map((id) => publish(id, undefined, to)));
  }

  const text = (message: IncomingMessage | undefined): string => Buffer.from(message?.data ?? []).toString();

  async function refused(attempt: Promise<unknown>): Promise<StreamRefusal> {
    const error: unknown = await attempt.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(StreamRefusal);
    return error as StreamRefusal;
  }

  it('tells the state of the stream', async () => {
    expect(stream.isConnected).toBe(true);
    expect(stream.ordering).toBe('chained');
    expect(stream.maxPayload).toBeGreaterThan(1_000_000);
    const empty = await stream.state();
    expect(empty).toMatchObject({ lastSequence: 0, replicas: 1 });
    await publishAll(['1', '2', '3']);
    expect(await stream.state()).toEqual({ created: empty.created, firstSequence: 1, lastSequence: 3, replicas: 1 });
    await backend.trim(name, 2);
    expect(await stream.state()).toMatchObject({ firstSequence: 3, lastSequence: 3 });
    await backend.trim(name, 3);
    expect(await stream.state()).toMatchObject({ firstSequence: 4, lastSequence: 3 });
    expect(await (await open('b')).state()).toMatchObject({ created: empty.created });
  });

  it('answers a publish with its sequence, in the order of the calls', async () => {
    const receipts = await Promise.all(Array.from({ length: 200 }, (_, index) => publish(`m.${index}`)));
    expect(receipts).toEqual(Array.from({ length: 200 }, (_, index) => ({ sequence: index + 1, duplicate: false })));
  });

  it('answers and delivers later, never inside publish', async () => {
    const order: string[] = [];
    await stream.consume(0, () => void order.push('delivered'));
    const answer = publish('1').then(() => order.push('answered'));
    order.push('returned');
    await answer;
    await until(() => order.length === 3);
    expect(order[0]).toBe('returned');
  });

  it('stores an id once, and answers a repetition with its sequence', async () => {
    const other = await open('b');
    await publishAll(['1', '2']);
    expect(await publish('1')).toEqual({ sequence: 1, duplicate: true });
    expect(await publish('1', undefined, other)).toEqual({ sequence: 1, duplicate: true });
    expect(await publish('2', { lastSubjectSequence: 2 })).toEqual({ sequence: 2, duplicate: true });
    expect(await publish('1', { lastMessageId: 'unknown' })).toEqual({ sequence: 1, duplicate: true });
    expect((await stream.state()).lastSequence).toBe(2);
    expect(await publish('3', { lastMessageId: '2' })).toEqual({ sequence: 3, duplicate: false });
    await backend.trim(name, 3);
    expect(await publish('1')).toEqual({ sequence: 1, duplicate: true });
  });

  it('stores a repeated message with an outdated expectation no second time', async () => {
    await publishAll(['1', '2']);
    // Server 2.15 looks at the expectation first, 2.9 for the duplicate: callers must be ready for both answers.
    const answer = await publish('1', { lastSubjectSequence: 0 }).catch((error: unknown) => error);
    if (answer instanceof StreamRefusal) expect(answer.lastSequence).toBe(2);
    else expect(answer).toEqual({ sequence: 1, duplicate: true });
    expect((await stream.state()).lastSequence).toBe(2);
  });

  it('refuses a message that expects another last sequence on the subject', async () => {
    const other = await open('b');
    expect(await publish('a1', { lastSubjectSequence: 0 })).toMatchObject({ sequence: 1 });
    expect(await publish('b1', { lastSubjectSequence: 0 }, other)).toMatchObject({ sequence: 2 });
    expect(await publish('a2', { lastSubjectSequence: 1 })).toMatchObject({ sequence: 3 });
    expect((await refused(publish('a3', { lastSubjectSequence: 1 }))).lastSequence).toBe(3);
    expect((await refused(publish('a3', { lastSubjectSequence: 2 }))).lastSequence).toBe(3);
    expect((await refused(publish('a3', { lastSubjectSequence: 9 }))).lastSequence).toBe(3);
    expect((await stream.state()).lastSequence).toBe(3);
    expect(await publish('a3', { lastSubjectSequence: 3 })).toEqual({ sequence: 4, duplicate: false });
  });

  it('takes a subject that was emptied for one without messages', async () => {
    await publishAll(['1', '2']);
    await backend.trim(name, 2);
    expect(await stream.lastSubjectSequence()).toBe(0);
    expect((await refused(publish('3', { lastSubjectSequence: 2 }))).lastSequence).toBe(0);
    expect(await publish('3', { lastSubjectSequence: 0 })).toMatchObject({ sequence: 3 });
  });

  it('stores a chain of message ids as a whole', async () => {
    const chain = ['1', '2', '3', '4'];
    const receipts = await Promise.all(
      chain.map((id, index) =>
        publish(id, index === 0 ? { lastSubjectSequence: 0 } : { lastMessageId: chain[index - 1] ?? '' }),
      ),
    );
    expect(receipts.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4]);
  });

  it.each(['a', 'b'])('refuses the rest of a chain when somebody comes between on subject %s', async (subject) => {
    const other = await open(subject);
    await publish('1', { lastSubjectSequence: 0 });
    await publish('between', undefined, other);
    await refused(publish('2', { lastMessageId: '1' }));
    await refused(publish('3', { lastMessageId: '2' }));
    expect((await stream.state()).lastSequence).toBe(2);
    await backend.foreign(`${name}.a`, 'of go-ha');
    await refused(publish('2', { lastMessageId: 'between' }));
  });

  it('refuses a chain from its first link when the subject has moved', async () => {
    await publish('moved');
    const attempts = [
      publish('1', { lastSubjectSequence: 0 }),
      publish('2', { lastMessageId: '1' }),
      publish('3', { lastMessageId: '2' }),
    ];
    await Promise.all(attempts.map(refused));
    expect((await stream.state()).lastSequence).toBe(1);
  });

  it('knows the last message of each subject', async () => {
    const other = await open('b');
    expect(await stream.lastSubjectSequence()).toBe(0);
    await publishAll(['1', '2']);
    await publish('3', undefined, other);
    expect(await stream.lastSubjectSequence()).toBe(2);
    expect(await other.lastSubjectSequence()).toBe(3);
  });

  it('reads a message as it is delivered', async () => {
    await stream.publish({ id: 'o.1', data: Buffer.from([0, 255, 10]), chunk: 't;1/2' }, 5_000);
    await backend.foreign(`${name}.a`, 'of go-ha');
    await publish('other', undefined, await open('b'));
    const delivered: IncomingMessage[] = [];
    await stream.consume(0, (message) => void delivered.push(message));
    await until(() => delivered.length === 2);
    const read = [await stream.messageAt(1), await stream.messageAt(2)];
    expect(read.map((message) => ({ ...message, data: text(message) }))).toEqual(
      delivered.map((message) => ({ ...message, data: text(message) })),
    );
    expect(read[0]).toMatchObject({ sequence: 1, id: 'o.1', version: '1', chunk: 't;1/2' });
    expect(Buffer.from(read[0]?.data ?? [])).toEqual(Buffer.from([0, 255, 10]));
    expect(read[1]).toMatchObject({ sequence: 2, id: undefined, version: undefined, chunk: undefined });
    expect(Math.abs(Number(read[0]?.time) - Date.now())).toBeLessThan(60_000);
  });

  it('has no message at a sequence of another subject, nor before the first or behind the last', async () => {
    await publish('other', undefined, await open('b'));
    await publishAll(['1', '2']);
    await backend.trim(name, 2);
    for (const sequence of [0, 1, 2, 4, 1000]) expect(await stream.messageAt(sequence)).toBeUndefined();
    expect(await stream.messageAt(3)).toMatchObject({ sequence: 3, id: '2' });
  });

  it('finds where to start', async () => {
    const other = await open('b');
    for (const kind of ['all', 'last', 'new'] as const) expect(await stream.startPosition({ kind })).toBe(0);
    await publish('1');
    await sleep(20);
    const time = new Date();
    await sleep(20);
    await publish('2', undefined, other);
    await publishAll(['3', '4']);
    await publish('5', undefined, other);
    expect(await stream.startPosition({ kind: 'all' })).toBe(0);
    expect(await stream.startPosition({ kind: 'last' })).toBe(3);
    expect(await stream.startPosition({ kind: 'new' })).toBe(4);
    expect(await stream.startPosition({ kind: 'startSequence', sequence: 4n })).toBe(3);
    expect(await stream.startPosition({ kind: 'startSequence', sequence: 0n })).toBe(0);
    expect(await stream.startPosition({ kind: 'startTime', time })).toBe(2);
    expect(await stream.startPosition({ kind: 'startTime', time: new Date(0) })).toBe(0);
    expect(await stream.startPosition({ kind: 'startTime', time: new Date(Date.now() + 3_600_000) })).toBe(4);
  });

  it('delivers each subject of a stream apart, from the middle on', async () => {
    const other = await open('b');
    for (const id of ['1', '2', '3', '4', '5', '6'])
      await publish(id, undefined, Number(id) % 2 === 1 ? stream : other);
    const seen: (readonly [string, number])[] = [];
    await stream.consume(1, (message) => void seen.push(['a', message.sequence]));
    await other.consume(4, (message) => void seen.push(['b', message.sequence]));
    await publish('7');
    await publish('8', undefined, other);
    await until(() => seen.length === 5);
    await sleep(50);
    expect(seen.filter(([subject]) => subject === 'a').map(([, sequence]) => sequence)).toEqual([3, 5, 7]);
    expect(seen.filter(([subject]) => subject === 'b').map(([, sequence]) => sequence)).toEqual([6, 8]);
  });

  it('delivers nothing behind messages that went before they were delivered, and says so', async () => {
    await publishAll(['1', '2', '3', '4']);
    await backend.trim(name, 2);
    const seen: number[] = [];
    const told: StreamStatus[] = [];
    stream.onStatus = (status) => void told.push(status);
    await stream.consume(0, ({ sequence }) => void seen.push(sequence));
    await until(() => told.length > 0);
    expect(told).toEqual([{ type: 'gap', after: 0, first: 3 }]);
    await sleep(50);
    expect(seen).toEqual([]);
  });

  it('takes what went for no gap where the owner knows that nothing is missing', async () => {
    await publishAll(['1', '2', '3', '4']);
    await backend.trim(name, 2);
    stream.passed = () => 2;
    const seen: number[] = [];
    await stream.consume(0, ({ sequence }) => void seen.push(sequence));
    await until(() => seen.length === 2);
    expect(seen).toEqual([3, 4]);
  });

  it('holds the delivery back until the handler has finished', async () => {
    await publishAll(['1', '2', '3', '4', '5']);
    let running = 0;
    let most = 0;
    const seen: number[] = [];
    await stream.consume(0, async ({ sequence }) => {
      most = Math.max(most, ++running);
      await sleep(5);
      running--;
      seen.push(sequence);
    });
    await until(() => seen.length === 5);
    expect(most).toBe(1);
    expect(seen).toEqual([1, 2, 3, 4, 5]);
  });

  it('ends the delivery and tells the owner when the handler fails', async () => {
    const status: StreamStatus[] = [];
    stream.onStatus = (event) => void status.push(event);
    const seen: number[] = [];
    const subscription = await stream.consume(0, ({ sequence }) => {
      seen.push(sequence);
      if (sequence === 2) throw new Error('cannot apply');
    });
    await publishAll(['1', '2', '3']);
    await until(() => status.length > 0);
    await sleep(50);
    expect(status).toEqual([{ type: 'error', error: new Error('cannot apply') }]);
    expect(seen).toEqual([1, 2]);
    await subscription.stop();
  });

  it('delivers nothing more once it is stopped', async () => {
    await publishAll(['1', '2', '3', '4']);
    const seen: number[] = [];
    let finished = false;
    const subscription = await stream.consume(0, async ({ sequence }) => {
      seen.push(sequence);
      await sleep(50);
      finished = true;
    });
    await until(() => seen.length === 1);
    await subscription.stop();
    expect(finished).toBe(true);
    await publish('5');
    await sleep(100);
    expect(seen).toEqual([1]);
    await subscription.stop();
  });

  it('delivers all in order and once across a lost connection', async () => {
    const status: string[] = [];
    const other = await open('b');
    const first = Array.from({ length: 50 }, (_, index) => `first.${index}`);
    const last = Array.from({ length: 50 }, (_, index) => `last.${index}`);
    const seen: string[] = [];
    stream.onStatus = ({ type }) => void status.push(type);
    await publishAll(first);
    await stream.consume(0, async ({ id }) => {
      seen.push(id ?? '');
      await sleep(1);
    });
    await until(() => seen.length > 10);
    const restore = await backend.cut([stream, other]);
    expect(stream.isConnected).toBe(false);
    await expect(publish('lost')).rejects.toBeInstanceOf(StreamUnavailable);
    await restore();
    await publish('from elsewhere', undefined, other);
    await publishAll(last);
    await until(() => seen.length >= 100);
    await sleep(100);
    expect(seen).toEqual([...first, ...last]);
    expect(status).toEqual(['disconnected', 'connected']);
    expect(await publish('last.0')).toMatchObject({ duplicate: true });
  });

  it('is unavailable before it is opened and after it is closed', async () => {
    const fresh = backend.make(name, `${name}.a`);
    expect(fresh.isConnected).toBe(false);
    await expect(publish('1', undefined, fresh)).rejects.toBeInstanceOf(StreamUnavailable);
    await expect(fresh.state()).rejects.toBeInstanceOf(StreamUnavailable);
    const seen: number[] = [];
    await stream.consume(0, ({ sequence }) => void seen.push(sequence));
    await stream.close();
    await stream.close();
    expect(stream.isConnected).toBe(false);
    await expect(publish('1')).rejects.toBeInstanceOf(StreamUnavailable);
    await publish('2', undefined, await open('a'));
    await sleep(50);
    expect(seen).toEqual([]);
  });

  it('refuses what is too large and stays usable', async () => {
    const large = { id: 'large', data: Buffer.alloc(2 * 1024 * 1024) };
    await expect(stream.publish(large, 5_000)).rejects.toBeInstanceOf(StreamUnavailable);
    const full = { id: 'full', data: Buffer.alloc(stream.maxPayload) };
    expect(await stream.publish(full, 5_000)).toEqual({ sequence: 1, duplicate: false });
  });

  it('refuses a subject that the stream does not listen to', async () => {
    await expect(backend.make(name, 'elsewhere').open()).rejects.toMatchObject({ code: 'HA_STREAM_CONFIG' });
  });
});
