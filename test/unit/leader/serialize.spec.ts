import { exactForm, exactJson } from '../../../lib/leader/forward/serialize.js';
import { createRequire } from 'node:module';

const { parse } = createRequire(import.meta.url)('qs') as {
  parse(text: string, options: object): unknown;
};

describe('exactJson', () => {
  it.each([
    '{"a":[1,2.5,true,false,null,"x"],"b":{}}',
    '-0',
    '[1e999,-1e999,5e-324,1.7976931348623157e308,9007199254740993]',
    '{"__proto__":{"x":1},"constructor":2}',
    String.raw`"\ud800 \u0000 \u2028 \" \\ 😀"`,
    '[]',
    '{"":{"":[[[]]]}}',
  ])('reads back as it was: %s', (text) => {
    const value: unknown = JSON.parse(text);
    const again: unknown = JSON.parse(exactJson(value) ?? 'undefined');
    expect(again).toEqual(value);
    expect(Object.is(again, -0)).toBe(Object.is(value, -0));
  });

  it.each([
    ['a date', { at: new Date() }],
    ['a map', new Map()],
    ['an integer that some parsers make', { n: 1n }],
    ['nothing', undefined],
    ['a hole', { a: [undefined] }],
    ['no number', NaN],
    ['an object of a class', new (class Thing {})()],
  ])('gives up on %s', (_name, value) => {
    expect(exactJson(value)).toBeUndefined();
  });
});

describe('exactForm', () => {
  // As the parser of Nest's Express adapter has it.
  const extended = (text: string): unknown => parse(text, { allowPrototypes: true, arrayLimit: 100, depth: 32 });

  it.each([
    'a=1&b=x+y%26z&c=',
    'a[]=1',
    'a=1&a=2&a=3',
    'a[0]=1&a[1]=2',
    'a[b][c]=1&a[b][d]=2&a[e]=',
    'd[0][e]=1&d[1][e]=2&d[1][f][]=3',
    'a%5Bb%5D=1',
    'a.b=1&%C3%BC=%F0%9F%98%80',
    'a[500]=x',
    '=1&&b',
  ])('reads back as it was: %s', (text) => {
    const value = extended(text);
    expect(extended(exactForm(value, true) ?? '')).toEqual(value);
  });

  it('repeats names for parsers without brackets', () => {
    expect(exactForm({ a: ['1', '2'], 'b[c]': 'x' }, false)).toBe('a=1&a=2&b%5Bc%5D=x');
  });

  it.each([
    ['an object inside', { a: { b: '1' } }],
    ['a number', { a: 1 }],
    ['a list of one', { a: ['1'] }],
  ])('gives up on %s for parsers without brackets', (_name, value) => {
    expect(exactForm(value, false)).toBeUndefined();
  });

  it.each([
    ['a list', ['a']],
    ['nothing', undefined],
    ['an empty list', { a: [] }],
    ['a file', { a: Buffer.from('x') }],
  ])('gives up on %s', (_name, value) => {
    expect(exactForm(value, true)).toBeUndefined();
  });
});
