import { TokenCheck } from '../../../lib/grpc/server/token.js';
import { ParameterBinder } from '../../../lib/grpc/server/parameters.js';
import type { NamedValue } from '../../../lib/grpc/codec/messages.js';
import { openWarning } from '../../../lib/grpc/server/grpc-server.js';
import { isLoopback } from '../../../lib/grpc/server/transport.js';

const at = (ordinal: number, value: NamedValue['value']): NamedValue => ({ name: '', ordinal, value });
const named = (name: string, value: NamedValue['value'], ordinal = 0): NamedValue => ({ name, ordinal, value });

describe('parameters', () => {
  it.each([
    ['SELECT ?, ?', [at(1, 1n), at(2, 2n)], [1n, 2n]],
    ['SELECT ?, ?', [at(2, 2n), at(1, 1n)], [1n, 2n]],
    ['SELECT :a, @b, $c', [named('a', 1n), named('@b', 2n), named('c', 3n)], [{ a: 1n, b: 2n, c: 3n }]],
    ['SELECT :a, :b', [at(1, 1n), at(2, 2n)], [{ a: 1n, b: 2n }]],
    ['SELECT :a, :a', [named('a', 1n, 1)], [{ a: 1n }]],
    ['SELECT ?2, ?1', [at(1, 1n), at(2, 2n)], [{ 1: 1n, 2: 2n }]],
    ['SELECT ?, :a', [at(1, null), named('a', 'x', 2)], [null, { a: 'x' }]],
    [`SELECT '?', "?" -- ?`, [], undefined],
  ])('of %s are bound', (sql, given, wanted) => {
    const binder = new ParameterBinder();
    expect(binder.bind(sql, given)).toEqual(wanted);
    expect(binder.bind(sql, given)).toEqual(wanted);
  });

  it.each([
    ['SELECT ?', [at(0, 1n)], /number 1 has no value/],
    ['SELECT ?', [at(2, 1n)], /number 1 has no value/],
    ['SELECT ?', [at(-1, 1n)], /number 1 has no value/],
    ['SELECT ?, ?', [at(1, 1n)], /number 2 has no value/],
    ['SELECT ?', [at(1, 1n), at(1, 2n)], /number 1, or it was given twice/],
    ['SELECT ?', [at(1, 1n), at(2, 2n)], /no parameter number 2/],
    ['SELECT :a', [named('b', 1n)], /:a \(number 1\) has no value/],
    ['SELECT :a', [named('a', 1n), named('b', 1n)], /no parameter 'b'/],
    ['SELECT 1', [at(1, 1n)], /no parameter number 1/],
  ])('of %s with %j are refused', (sql, given, message) => {
    expect(() => new ParameterBinder().bind(sql, given)).toThrow(message);
  });

  it('may be as many as SQLite takes', () => {
    const many = Array.from({ length: 32_766 }, (_, index) => at(index + 1, BigInt(index)));
    const sql = `SELECT ${many.map(() => '?').join()}`;
    expect(new ParameterBinder().bind(sql, many)).toEqual(many.map(({ value }) => value));
  });
});

describe('a token', () => {
  it.each([
    ['t', true],
    ['Bearer t', true],
    ['bearer  t', true],
    ['', false],
    ['T', false],
    ['Bearer', false],
    ['Bearer ', false],
    ['Bearer t ', false],
    ['Basic t', false],
    ['tt', false],
  ])('%j is admitted: %s', (value, admitted) => {
    expect(new TokenCheck('t').admits([value])).toBe(admitted);
  });

  it('is needed once, as text', () => {
    const check = new TokenCheck('t');
    expect(check.admits([])).toBe(false);
    expect(check.admits(['t', 't'])).toBe(false);
    expect(check.admits([Buffer.from('t')])).toBe(false);
    expect(new TokenCheck(undefined).admits([])).toBe(true);
    expect(new TokenCheck('Bearer x').admits(['Bearer x'])).toBe(true);
  });

  it('that is missing is warned of where others reach the server, unless they need a certificate', () => {
    const open = { host: '0.0.0.0', port: 5001, token: undefined };
    expect(openWarning(open)).toMatch(/0\.0\.0\.0:5001.*set grpcToken/);
    expect(openWarning({ ...open, token: 't' })).toBeUndefined();
    expect(openWarning({ ...open, ca: '/ca.pem' })).toBeUndefined();
    expect(openWarning({ ...open, host: '127.0.0.1' })).toBeUndefined();
  });

  it('is asked for where others reach the server', () => {
    expect(['127.0.0.1', '127.1.2.3', '::1', 'localhost', '0.0.0.0', '::', '10.0.0.1'].map(isLoopback)).toEqual([
      true,
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
  });
});
