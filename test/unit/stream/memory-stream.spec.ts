import { setImmediate as turn } from 'node:timers/promises';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import type { MemoryStreamSettings } from '../../../lib/stream/memory/memory-stream.js';
import { StreamRefusal, StreamTimeout, StreamUnavailable } from '../../../lib/stream/replication-stream.js';
import type { PublishReceipt } from '../../../lib/stream/replication-stream.js';

// The faults; what it shares with JetStream is in the contract tests.
let broker: MemoryBroker;
let stream: MemoryStream;

beforeEach(async () => {
  broker = new MemoryBroker();
  stream = await open();
});

async function open(settings: Partial<MemoryStreamSettings> = {}): Promise<MemoryStream> {
  const made = new MemoryStream({ broker, stream: 's', subject: 's.a', ...settings });
  await made.open();
  return made;
}

const publish = (id: string): Promise<PublishReceipt> => stream.publish({ id, data: Buffer.from(id) });

async function collect(from: MemoryStream = stream): Promise<string[]> {
  const seen: string[] = [];
  await from.consume(0, ({ sequence, id }) => void seen.push(`${sequence}:${id ?? ''}`));
  return seen;
}

async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await turn();
}

it('stores what is published while acknowledgements are lost', async () => {
  stream.loseAcks(2);
  await expect(publish('1')).rejects.toBeInstanceOf(StreamTimeout);
  await expect(publish('2')).rejects.toBeInstanceOf(StreamTimeout);
  expect(await publish('1')).toEqual({ sequence: 1, duplicate: true });
  expect(await publish('3')).toEqual({ sequence: 3, duplicate: false });
});

it('loses messages on the way', async () => {
  stream.dropNext(1);
  await expect(publish('1')).rejects.toBeInstanceOf(StreamTimeout);
  expect(await publish('1')).toEqual({ sequence: 1, duplicate: false });
});

it('refuses messages', async () => {
  await publish('1');
  stream.refuseNext(1);
  const error: unknown = await publish('2').catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StreamRefusal);
  expect((error as StreamRefusal).lastSequence).toBe(1);
  expect(await publish('2')).toEqual({ sequence: 2, duplicate: false });
});

it('lets pending acknowledgements time out when the connection is lost, though the message is stored', async () => {
  const status: string[] = [];
  stream.onStatus = ({ type }) => void status.push(type);
  const pending = publish('1');
  stream.disconnect();
  await expect(pending).rejects.toBeInstanceOf(StreamTimeout);
  await expect(publish('2')).rejects.toBeInstanceOf(StreamUnavailable);
  await expect(stream.state()).rejects.toBeInstanceOf(StreamUnavailable);
  await expect(open().then(() => stream.open())).rejects.toMatchObject({ code: 'HA_STREAM_CONNECT' });
  await stream.connect();
  await stream.connect();
  expect(await publish('1')).toEqual({ sequence: 1, duplicate: true });
  expect(status).toEqual(['disconnected', 'connected']);
});

it('pauses deliveries while it is disconnected', async () => {
  const other = await open();
  const seen = await collect();
  await publish('1');
  await settle();
  stream.disconnect();
  await other.publish({ id: '2', data: Buffer.from('2') });
  await settle();
  expect(seen).toEqual(['1:1']);
  await stream.connect();
  await settle();
  expect(seen).toEqual(['1:1', '2:2']);
});

it('leaves it to deliver when messages arrive', async () => {
  const manual = await open({ manual: true });
  const seen = await collect(manual);
  for (const id of ['1', '2', '3', '4']) await publish(id);
  await settle();
  expect(seen).toEqual([]);
  expect(await manual.deliver(1)).toBe(1);
  expect(seen).toEqual(['1:1']);
  expect(await manual.deliver(2)).toBe(2);
  manual.disconnect();
  expect(await manual.deliver()).toBe(0);
  await manual.connect();
  expect(await manual.deliver()).toBe(1);
  expect(await manual.deliver()).toBe(0);
  expect(seen).toEqual(['1:1', '2:2', '3:3', '4:4']);
});

it('appends a late duplicate as a new message', async () => {
  const seen = await collect();
  await publish('1');
  await publish('2');
  expect(broker.republish(1)).toBe(3);
  await settle();
  expect(seen).toEqual(['1:1', '2:2', '3:1']);
  broker.forgetIds();
  expect(await publish('2')).toEqual({ sequence: 4, duplicate: false });
});

it('takes messages that no node published', async () => {
  await publish('1');
  const message = { subject: 's.a', data: Buffer.from('{}'), id: undefined, version: undefined, chunk: undefined };
  expect(broker.append(message)).toBe(2);
  expect(await stream.messageAt(2)).toMatchObject({ sequence: 2, id: undefined, version: undefined });
});

it('loses its end, and uses the sequences again', async () => {
  for (const id of ['1', '2', '3']) await publish(id);
  const { created } = await stream.state();
  broker.truncate(1);
  expect(await stream.state()).toMatchObject({ created, firstSequence: 1, lastSequence: 1 });
  expect(await stream.lastSubjectSequence()).toBe(1);
  expect(await publish('3')).toEqual({ sequence: 2, duplicate: false });
});

it('is made anew with another creation time', async () => {
  await publish('1');
  const { created } = await stream.state();
  broker.recreate();
  const state = await stream.state();
  expect(state).toMatchObject({ lastSequence: 0 });
  expect(state.created).not.toBe(created);
  expect(await publish('1')).toEqual({ sequence: 1, duplicate: false });
});

it('asks for a name where the broker has several streams', async () => {
  await open({ stream: 't', subject: 't' });
  expect(() => broker.trim(1)).toThrow(/2 streams/);
  expect(() => broker.trim(1, 'x')).toThrow(/no stream 'x'/);
  expect(() => broker.trim(1, 't')).not.toThrow();
});

it('does not chain on a replicated stream', async () => {
  const replicated = await open({ stream: 'r', subject: 'r', replicas: 3 });
  expect(replicated.ordering).toBe('batch');
  const chained = { id: '2', data: Buffer.from('x'), expect: { lastMessageId: '1' } };
  await expect(replicated.publish(chained)).rejects.toBeInstanceOf(TypeError);
});

it('runs on a clock and a scheduler of the test', async () => {
  const tasks: (() => void)[] = [];
  const own = new MemoryBroker({ now: () => 1_000, defer: (task) => void tasks.push(task) });
  const node = new MemoryStream({ broker: own, stream: 's', subject: 's' });
  expect((await node.open()).created).toBe('1970-01-01T00:00:01.000000001Z');
  let answered = false;
  const answer = node.publish({ id: '1', data: Buffer.from('x') }).then(() => (answered = true));
  await settle();
  expect(answered).toBe(false);
  for (const task of tasks) task();
  await answer;
  expect(await node.messageAt(1)).toMatchObject({ time: '1000' });
});
