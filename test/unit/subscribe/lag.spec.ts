import type { Position } from '../../../lib/sqlite/position.js';
import { LagMeter } from '../../../lib/subscribe/lag.js';
import type { ReplicationStream } from '../../../lib/stream/replication-stream.js';

const NOTHING = { backlog: 0, waitingSince: undefined };
const at = (received: number): Position => ({ received }) as Position;

/** A stream that stands at a sequence; undefined never answers. */
const stream = (last: number | undefined, isConnected = true): ReplicationStream =>
  ({
    isConnected,
    lastSubjectSequence: () => (last === undefined ? new Promise(() => undefined) : Promise.resolve(last)),
  }) as unknown as ReplicationStream;

let now = 1_000_000;

const lagMeter = (): LagMeter => new LagMeter(() => now);

beforeEach(() => {
  now = 1_000_000;
});

it('is nothing where everything is applied', async () => {
  expect(await lagMeter().measure(stream(7), at(7), NOTHING, 50)).toEqual({
    messages: 0,
    seconds: 0,
    answered: true,
  });
});

it('counts from the moment at which the oldest waiting message was stored', async () => {
  const deliveries = { backlog: 2, waitingSince: now - 3_000 };
  expect(await lagMeter().measure(stream(9), at(7), deliveries, 50)).toEqual({
    messages: 2,
    seconds: 3,
    answered: true,
  });
});

it('counts from its first question what is not even delivered, and anew where that has come meanwhile', async () => {
  const meter = lagMeter();
  expect(await meter.measure(stream(9), at(7), NOTHING, 50)).toMatchObject({ messages: 2, seconds: 0 });
  now += 5_000;
  expect(await meter.measure(stream(12), at(8), NOTHING, 50)).toMatchObject({ messages: 4, seconds: 5 });
  now += 5_000;
  // 9 has come; what is missing now was not known to be missing before.
  expect(await meter.measure(stream(20), at(15), NOTHING, 50)).toMatchObject({ messages: 5, seconds: 0 });
  now += 2_000;
  expect(await meter.measure(stream(20), at(20), NOTHING, 50)).toMatchObject({ messages: 0, seconds: 0 });
});

it('counts for how long the stream is away', async () => {
  const meter = lagMeter();
  meter.connection(false);
  now += 4_000;
  meter.connection(false);
  const away = stream(9, false);
  expect(await meter.measure(away, at(7), NOTHING, 50)).toEqual({ messages: 0, seconds: 4, answered: false });
  const deliveries = { backlog: 3, waitingSince: now - 9_000 };
  expect(await meter.measure(away, at(7), deliveries, 50)).toEqual({ messages: 3, seconds: 9, answered: false });
  meter.connection(true);
  expect(await meter.measure(stream(7), at(7), NOTHING, 50)).toMatchObject({ seconds: 0, answered: true });
});

it('counts from its first question for how long a stream that is connected does not answer', async () => {
  const meter = lagMeter();
  expect(await meter.measure(stream(undefined), at(7), NOTHING, 5)).toEqual({
    messages: 0,
    seconds: 0,
    answered: false,
  });
  now += 6_000;
  expect(await meter.measure(stream(undefined), at(7), NOTHING, 5)).toMatchObject({ seconds: 6, answered: false });
  expect(await meter.measure(stream(7), at(7), NOTHING, 5)).toMatchObject({ seconds: 0, answered: true });
  now += 1_000;
  expect(await meter.measure(stream(undefined), at(7), NOTHING, 5)).toMatchObject({ seconds: 0, answered: false });
});
