import { mayBreakExpectations, takesBatches } from '../../../lib/stream/jetstream/server-version.js';

it.each(['2.12.9', '2.12.15', '2.14.1', '2.14.6', '2.15.0', '2.15.1', '2.15.1-RC.1', '2.16.0', '3.0.0'])(
  'takes batches: %s',
  (version) => expect(takesBatches(version)).toBe(true),
);

it.each([
  '2.9.10',
  '2.10.29',
  '2.11.15',
  '2.12.0',
  '2.12.1',
  '2.12.8',
  '2.13.9',
  '2.14.0',
  '1.4.1',
  '',
  'x',
  undefined,
])('takes none, or does not keep them whole: %s', (version) => expect(takesBatches(version)).toBe(false));

it.each([
  ['2.9.10', true],
  ['2.10.29', true],
  ['2.11.0', false],
  ['2.15.1', false],
  ['3.0.0', false],
])('may break expectations on several replicas: %s, %s', (version, breaks) =>
  expect(mayBreakExpectations(version)).toBe(breaks),
);
