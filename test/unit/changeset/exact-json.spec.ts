import { parseExactJson } from '../../../lib/changeset/exact-json.js';
import type { ExactJson } from '../../../lib/changeset/exact-json.js';
import { forSeeds } from '../../support/random.js';
import type { Random } from '../../support/random.js';

/** What `JSON.parse` would have made of it: all numbers alike. */
function merged(value: ExactJson): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(merged);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, merged(member)]));
}

function space(random: Random): string {
  return random.below(4) === 0 ? random.pick([' ', '\n', '\t', '\r', '  \n']) : '';
}

function stringText(random: Random): string {
  const text = JSON.stringify(random.text());
  return random.below(3) === 0 ? text.replaceAll('a', '\\u0061').replaceAll('é', '\\u00E9') : text;
}

function document(random: Random, depth: number): string {
  const padded = (text: string): string => space(random) + text + space(random);
  const items = (make: () => string): string =>
    Array.from({ length: random.below(5) }, make).join(',') || space(random);
  switch (random.below(depth > 4 ? 5 : 8)) {
    case 0:
      return padded(random.pick(['null', 'true', 'false']));
    case 1:
      return padded(String(random.int64()));
    case 2:
      return padded(
        random.pick([String(random.real()), '1E5', '1e-7', '-0.0', '2.50', '0e0', '123456789012345678901']),
      );
    case 3:
    case 4:
      return padded(stringText(random));
    case 5:
      return padded(`{${items(() => `${padded(stringText(random))}:${document(random, depth + 1)}`)}}`);
    default:
      return padded(`[${items(() => document(random, depth + 1))}]`);
  }
}

it('reads 2,000 random documents as JSON.parse does', () => {
  forSeeds(2_000, (random) => {
    const text = document(random, 0);
    // As text: the integer literal -0 is 0 here, and -0 in JSON.parse.
    expect(JSON.stringify(merged(parseExactJson(text)))).toBe(JSON.stringify(JSON.parse(text)));
  });
});

it('refuses what JSON.parse refuses, and nothing else', () => {
  forSeeds(2_000, (random) => {
    const text = document(random, 0);
    const at = random.below(text.length);
    const broken = random.pick([
      text.slice(0, at),
      text.slice(0, at) + text.slice(at + 1),
      text.slice(0, at) +
        random.pick(['"', ',', '}', ']', '-', '0', 'e', '.', '\\', '\u0001', 'x', '+']) +
        text.slice(at),
    ]);
    const outcome = (parse: (text: string) => unknown): string => {
      try {
        parse(broken);
        return 'accepted';
      } catch (error) {
        return error instanceof SyntaxError ? 'refused' : String(error);
      }
    };
    expect([broken, outcome(parseExactJson)]).toEqual([broken, outcome(JSON.parse)]);
  });
});

it.each([
  ['0', 0n],
  ['-1', -1n],
  ['-0', 0n],
  ['-0.0', -0],
  ['2', 2n],
  ['2.0', 2],
  ['2e0', 2],
  ['9007199254740993', 9_007_199_254_740_993n],
  ['9223372036854775807', 9_223_372_036_854_775_807n],
  ['-9223372036854775808', -9_223_372_036_854_775_808n],
  ['9223372036854775808', 2 ** 63],
  ['-9223372036854775809', -(2 ** 63)],
  ['1e400', Infinity],
])('reads the number %s', (text, value) => {
  expect(Object.is(parseExactJson(text), value)).toBe(true);
});

it.each([
  ['"\\u0041\\n\\"\\\\\\/\\b"', 'A\n"\\/\b'],
  ['"\\ud83d\\ude00"', '😀'],
  ['"😀"', '😀'],
  ['"\\ud83d"', '\ud83d'],
  ['"\\\\"', '\\'],
  ['"\\\\\\""', '\\"'],
  ['""', ''],
])('reads the string %s', (text, value) => {
  expect(parseExactJson(text)).toBe(value);
});

it.each([
  '',
  ' ',
  '{',
  '[',
  '[1,]',
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  '{a:1}',
  '01',
  '-',
  '-01',
  '1.',
  '.5',
  '1e',
  '1e+',
  '1-2',
  '+1',
  "'a'",
  '"',
  '"\\"',
  '"\\x"',
  '"\n"',
  '"\u0000"',
  'nul',
  'nullx',
  'NaN',
  'Infinity',
  '1 2',
  '[1}',
  '\u00a01',
  '\ufeff1',
])('refuses %j', (text) => {
  expect(() => parseExactJson(text)).toThrow(SyntaxError);
});

it('keeps __proto__ a member like any other', () => {
  const value = parseExactJson('{"__proto__":{"polluted":1},"constructor":2}') as { [name: string]: ExactJson };
  expect(Object.keys(value)).toEqual(['__proto__', 'constructor']);
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  expect((value as { polluted?: unknown }).polluted).toBeUndefined();
});

it('takes the last of equal member names, __proto__ included', () => {
  expect(parseExactJson('{"a":1,"a":2}')).toEqual({ a: 2n });
  const value = parseExactJson('{"__proto__":1,"__proto__":2}') as object;
  expect(Object.entries(value)).toEqual([['__proto__', 2n]]);
});

it('bounds the nesting', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  expect(() => parseExactJson(nested(64))).not.toThrow();
  expect(() => parseExactJson(nested(65))).toThrow(/nested deeper than 64/);
  expect(() => parseExactJson('{"a":'.repeat(100_000))).toThrow(/nested deeper than 64/);
  expect(() => parseExactJson(`[${'[],'.repeat(1_000)}[]]`)).not.toThrow();
});

it('names the offset of what it refuses', () => {
  expect(() => parseExactJson('[1, x]')).toThrow(/offset 4/);
});
