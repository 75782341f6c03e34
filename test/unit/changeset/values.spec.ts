import { InvalidText } from '../../../lib/changeset/changeset.js';
import type { SqlValue } from '../../../lib/changeset/changeset.js';
import { parseExactJson } from '../../../lib/changeset/exact-json.js';
import type { ExactJson } from '../../../lib/changeset/exact-json.js';
import { decodeValues, encodeValues, realLiteral } from '../../../lib/changeset/values.js';
import { forSeeds } from '../../support/random.js';
import type { Random } from '../../support/random.js';

function decode(json: string, types?: string): SqlValue[] {
  return decodeValues(parseExactJson(json) as ExactJson[], types);
}

function roundTrip(values: readonly SqlValue[]): SqlValue[] {
  const { json, types } = encodeValues(values);
  expect(() => JSON.parse(json) as unknown).not.toThrow();
  return decode(json, types);
}

function value(random: Random): SqlValue {
  const kinds: (() => SqlValue)[] = [
    () => null,
    () => random.int64(),
    () => random.real(),
    () => random.text(),
    () => random.bytes(random.below(20)),
    () => new InvalidText(Buffer.concat([random.bytes(random.below(5)), Buffer.from([0xff])])),
    () => random.pick([Infinity, -Infinity]),
  ];
  // The last three are rare, so that rows without letters occur too.
  return random.pick(random.below(4) === 0 ? kinds : kinds.slice(0, 4))();
}

it('round-trips 5,000 random values', () => {
  forSeeds(1_000, (random) => {
    const values = Array.from({ length: 5 }, () => value(random));
    expect(roundTrip(values)).toStrictEqual(values);
  });
});

it.each<[SqlValue, string, string | undefined]>([
  [null, '[null]', undefined],
  [2n, '[2]', undefined],
  [2 ** 53, '[9007199254740992.0]', undefined],
  [-(2n ** 63n), '[-9223372036854775808]', undefined],
  [2, '[2.0]', undefined],
  [-0, '[-0.0]', undefined],
  [1e300, '[1e+300]', undefined],
  [1e21, '[1e+21]', undefined],
  [5e-324, '[5e-324]', undefined],
  [0.1, '[0.1]', undefined],
  [Infinity, '[null]', 'p'],
  [-Infinity, '[null]', 'm'],
  ['a\u0000"é', '["a\\u0000\\"é"]', undefined],
  ['', '[""]', undefined],
  [Buffer.from([0, 255]), '["AP8="]', 'b'],
  [Buffer.alloc(0), '[""]', 'b'],
  [new InvalidText(Buffer.from([0xff])), '["/w=="]', 'u'],
])('writes %p as %s', (value, json, types) => {
  expect(encodeValues([value])).toEqual(types === undefined ? { json } : { json, types });
  expect(decode(json, types)).toStrictEqual([value]);
});

it('writes every REAL so that it reads back as the same REAL', () => {
  forSeeds(2_000, (random) => {
    const real = random.real();
    const read = parseExactJson(realLiteral(real));
    expect(Object.is(read, real)).toBe(true);
  });
});

it('carries letters for all columns where one needs them', () => {
  const { types } = encodeValues([
    null,
    1n,
    2,
    't',
    Buffer.from('b'),
    new InvalidText(Buffer.from([0x80])),
    Infinity,
    -Infinity,
  ]);
  expect(types).toBe('nirtbupm');
});

it('takes booleans, which SQLite does not have, for 1 and 0', () => {
  expect(decode('[true,false]')).toEqual([1n, 0n]);
});

it.each([
  ['[1,2]', 'i'],
  ['[1]', 'ii'],
  ['[1]', 'x'],
  ['[1]', 'b'],
  ['[null]', 'u'],
  ['[[1]]', undefined],
  ['[{"$b":"00"}]', 'i'],
])('refuses %s with the letters %s', (json, types) => {
  expect(() => decode(json, types)).toThrow(SyntaxError);
});
