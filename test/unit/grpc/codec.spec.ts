import protobuf from 'protobufjs';
import { ProtocolTime, readAny, writeAny } from '../../../lib/grpc/codec/any.js';
import { AnswerWriter, readRequest, readResponse, writeRequest } from '../../../lib/grpc/codec/messages.js';
import type { NamedValue } from '../../../lib/grpc/codec/messages.js';
import { WireError, WireReader, WireWriter } from '../../../lib/grpc/codec/wire.js';
import { pack, unpack } from '../../helper/grpc-client.js';
import type { Any } from '../../helper/grpc-client.js';
import { Random } from '../../support/random.js';

const root = protobuf.loadSync(['proto/sql/v1/database_service.proto', 'test/helper/well-known.proto']);
const Request = root.lookupType('sql.v1.QueryRequest');
const Response = root.lookupType('sql.v1.QueryResponse');
const AnyType = root.lookupType('google.protobuf.Any');

const MIN = -(2n ** 63n);
const MAX = 2n ** 63n - 1n;
const VALUES = [
  null,
  0n,
  1n,
  -1n,
  127n,
  128n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 35n - 1n,
  2n ** 35n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 53n + 1n,
  MIN,
  MAX,
  0,
  -0,
  2,
  0.1,
  -1.5e300,
  5e-324,
  Infinity,
  -Infinity,
  '',
  'a',
  'é😀\0z',
  'x'.repeat(127),
  'x'.repeat(128),
  'ü'.repeat(20_000),
  Buffer.alloc(0),
  Buffer.from([0, 255, 128]),
  Buffer.alloc(70_000, 7),
];

/** The bytes of an Any, without the field around it. */
function anyOf(value: unknown): Buffer {
  const writer = new WireWriter();
  writeAny(writer, 0x0a, value);
  const reader = new WireReader(writer.view());
  expect(reader.tag()).toEqual({ field: 1, type: 2 });
  const bytes = Buffer.from(reader.bytes());
  expect(reader.done).toBe(true);
  return bytes;
}

function packed(type: string, content: object): Buffer {
  return Buffer.from(AnyType.encode(pack(type, content)).finish());
}

function randomValue(random: Random): unknown {
  switch (random.below(5)) {
    case 0:
      return null;
    case 1:
      return BigInt.asIntN(64, BigInt(Math.floor(random.next() * 2 ** 53)) << BigInt(random.below(64)));
    case 2:
      return (random.next() - 0.5) * 10 ** (random.below(600) - 300);
    case 3:
      return String.fromCodePoint(...Array.from({ length: random.below(40) }, () => random.below(0xd7ff)));
    default:
      return Buffer.from(Array.from({ length: random.below(300) }, () => random.below(256)));
  }
}

describe('a value', () => {
  it.each(VALUES)('%p comes back as it was, and is what others would write', (value) => {
    const bytes = anyOf(value);
    const back = readAny(bytes);
    expect(Object.is(back, value) || Buffer.isBuffer(value)).toBe(true);
    if (Buffer.isBuffer(value)) expect(value.equals(back as Buffer)).toBe(true);
    const { type_url: url, value: content } = AnyType.toObject(AnyType.decode(bytes)) as {
      type_url: string;
      value?: Buffer;
    };
    const [, plain] = unpack({ type_url: url, value: Buffer.from(content ?? []) });
    expect(typeof value === 'bigint' ? BigInt(plain as string) : plain).toEqual(value);
  });

  it('of any kind comes back as it was', () => {
    const random = new Random(7);
    for (let i = 0; i < 5_000; i++) {
      const value = randomValue(random);
      expect(readAny(anyOf(value))).toEqual(value);
    }
  });

  it.each([
    ['Int64Value', { value: '-9223372036854775808' }, MIN],
    ['Int32Value', { value: -7 }, -7n],
    ['UInt64Value', { value: '9223372036854775807' }, MAX],
    ['UInt32Value', { value: 4_294_967_295 }, 4_294_967_295n],
    ['BoolValue', { value: true }, 1n],
    ['BoolValue', { value: false }, 0n],
    ['FloatValue', { value: 1.5 }, 1.5],
    ['DoubleValue', { value: 2 }, 2],
    ['BytesValue', { value: Buffer.alloc(0) }, Buffer.alloc(0)],
    ['Empty', {}, null],
    ['Timestamp', { seconds: '1767323045', nanos: 123_456_789 }, '2026-01-02 03:04:05.123456789+00:00'],
    ['Timestamp', { seconds: '1767323045', nanos: 500_000_000 }, '2026-01-02 03:04:05.5+00:00'],
    ['Timestamp', { seconds: '1767323045' }, '2026-01-02 03:04:05+00:00'],
    ['Timestamp', { seconds: '-1', nanos: 1 }, '1969-12-31 23:59:59.000000001+00:00'],
    ['Timestamp', { seconds: '-62135596800' }, '0001-01-01 00:00:00+00:00'],
  ])('of type %s %j is %p', (type, content, wanted) => {
    expect(readAny(packed(type, content))).toEqual(wanted);
  });

  it('may name its type with another prefix, and hold unknown fields', () => {
    const { value } = pack('Int64Value', { value: '5' });
    const other = AnyType.encode({ type_url: 'example.com/x/google.protobuf.Int64Value', value }).finish();
    expect(readAny(Buffer.concat([other, Buffer.from([0x1a, 1, 65])]))).toBe(5n);
  });

  it.each([
    ['nothing', Buffer.alloc(0), /type_url/],
    ['an unknown type', packed('Duration', { seconds: 1 }), /google\.protobuf\.Duration/],
    ['an unsigned integer beyond 2^63', packed('UInt64Value', { value: '18446744073709551615' }), /64 bits/],
    ['a time beyond the year 9999', packed('Timestamp', { seconds: '253402300800' }), /years 1 and 9999/],
    ['a time with too many nanoseconds', packed('Timestamp', { nanos: 1_000_000_000 }), /years 1 and 9999/],
    ['half a message', packed('StringValue', { value: 'abc' }).subarray(0, -1), /too early/],
    ['a length beyond the end', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f]), /too early/],
    ['an endless number', Buffer.from([0x0a, ...Array<number>(11).fill(0xff)]), /no end/],
    ['a group', Buffer.from([0x0b]), /unknown way/],
    ['field 0', Buffer.from([0x00, 0x00]), /field 0/],
  ])('that is %s is refused', (_what, bytes, message) => {
    expect(() => readAny(bytes)).toThrow(WireError);
    expect(() => readAny(bytes)).toThrow(message);
  });

  it('with text that is not UTF-8, or of another form than its type, is refused', () => {
    const text = pack('StringValue', { value: 'ab' });
    const broken = Buffer.from(text.value);
    broken[2] = 0xff;
    expect(() => readAny(AnyType.encode({ ...text, value: broken }).finish())).toThrow(/UTF-8/);
    const integer = { type_url: 'type.googleapis.com/google.protobuf.Int64Value', value: text.value };
    expect(() => readAny(AnyType.encode(integer).finish())).toThrow(/another way/);
  });

  it.each([
    [0, '0', 0],
    [1_795_396_318_395, '1795396318', 395_000_000],
    [-1, '-1', 999_000_000],
  ])('of the protocol alone is a time: %p', (ms, seconds, nanos) => {
    const any = AnyType.toObject(AnyType.decode(anyOf(new ProtocolTime(ms))), { bytes: Buffer });
    expect(any['type_url']).toBe('type.googleapis.com/google.protobuf.Timestamp');
    expect(unpack(any as Any)).toEqual(['Timestamp', { seconds, nanos }]);
  });

  it.each([true, new Date(0), {}, 2n ** 63n, -(2n ** 63n) - 1n])('%p cannot be written', (value) => {
    expect(() => anyOf(value)).toThrow(/bind|64 bits/);
  });
});

describe('a request', () => {
  const params: NamedValue[] = [
    { name: '', ordinal: 1, value: 5n },
    { name: 'b', ordinal: 2, value: 'é' },
    { name: '', ordinal: 3, value: null },
  ];

  it('is what others would write', () => {
    const request = { type: 2, sql: 'SELECT ?, :b, ?', params, replicationId: 'my.db' };
    const bytes = writeRequest(request);
    expect(readRequest(bytes)).toEqual(request);
    const plain = Request.toObject(Request.decode(bytes), { longs: String, enums: String }) as Record<string, unknown>;
    expect(plain).toMatchObject({ type: 'QUERY_TYPE_EXEC_QUERY', sql: request.sql, replicationId: 'my.db' });
    expect(Buffer.from(Request.encode(Request.fromObject(plain)).finish())).toEqual(bytes);
  });

  it('that is empty has nothing', () => {
    expect(readRequest(writeRequest({ type: 0, sql: '', params: [], replicationId: '' }))).toEqual({
      type: 0,
      sql: '',
      params: [],
      replicationId: '',
    });
  });

  it('may be larger than any buffer that it begins with', () => {
    const sql = `SELECT '${'x'.repeat(1_000_000)}'`;
    expect(readRequest(writeRequest({ type: 0, sql, params: [], replicationId: '' })).sql).toBe(sql);
  });

  it.each([
    [true, 1],
    [false, 2],
  ])('says of foreign keys whether they are enforced: %s', (foreignKeys, number) => {
    const request = { type: 1, sql: 'BEGIN', params: [], replicationId: '', foreignKeys };
    const bytes = writeRequest(request);
    expect(readRequest(bytes)).toEqual(request);
    expect(Request.toObject(Request.decode(bytes))).toMatchObject({ foreignKeys: number });
  });

  it('says nothing else of foreign keys', () => {
    const odd = Request.encode(Request.fromObject({ sql: 'BEGIN', foreignKeys: 3 })).finish();
    expect(() => readRequest(odd)).toThrow(/^foreign_keys: 3 is neither/);
  });

  it('names the parameter that is wrong', () => {
    const bad = Request.encode(
      Request.fromObject({
        sql: 'x',
        params: [
          { ordinal: 1, value: pack('Empty', {}) },
          { name: 'n', ordinal: 2 },
        ],
      }),
    ).finish();
    expect(() => readRequest(bad)).toThrow(/^parameter 2 \(n\): it has no value/);
  });

  it('of random bytes is read or refused, and nothing else happens', () => {
    const random = new Random(3);
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(Array.from({ length: random.below(24) }, () => random.below(256)));
      try {
        readRequest(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(WireError);
      }
    }
  });

  it('that was damaged is read or refused, and nothing else happens', () => {
    const random = new Random(4);
    const whole = writeRequest({ type: 1, sql: 'INSERT', params, replicationId: 'my.db' });
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(whole.subarray(0, 1 + random.below(whole.length)));
      bytes[random.below(bytes.length)] = random.below(256);
      try {
        readRequest(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(WireError);
      }
    }
  });
});

describe('an answer', () => {
  it('with rows is what others would write', () => {
    const random = new Random(11);
    const rows = Array.from({ length: 300 }, () => [randomValue(random), randomValue(random)]);
    const writer = new AnswerWriter(['a', 'ä']);
    for (const row of rows) writer.add(row);
    const bytes = writer.finish({ txseq: 2n ** 63n, rowsAffected: 3, lastInsertId: -5n });
    expect(readResponse(bytes)).toEqual({
      resultSet: { columns: ['a', 'ä'], rows },
      rowsAffected: 3n,
      lastInsertId: -5n,
      txseq: 2n ** 63n,
      error: '',
      more: false,
      errorFields: undefined,
    });
    const message = Response.decode(bytes);
    expect(Response.verify(Response.toObject(message))).toBeNull();
    expect(Buffer.from(Response.encode(message).finish())).toEqual(bytes);
  });

  it('with an error carries its code only where it was asked for', () => {
    const errorFields = { code: 'HA_CONFLICT', retryable: true, details: '{}' };
    const bytes = new AnswerWriter(undefined).finish({ error: 'no', errorFields, more: true });
    expect(readResponse(bytes)).toMatchObject({ resultSet: undefined, error: 'no', more: true, errorFields });
    expect(Buffer.from(Response.encode(Response.decode(bytes)).finish())).toEqual(bytes);
    expect(new AnswerWriter(undefined).finish({})).toHaveLength(0);
  });
});
