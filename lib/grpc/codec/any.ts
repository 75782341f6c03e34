import { isUtf8 } from 'node:buffer';
import { WireError, WireReader, WireType, WireWriter, varintLength, varintSize } from './wire.js';

/** A value of SQLite: INTEGER is a bigint, REAL a number, BLOB a Buffer. */
export type SqlValue = null | bigint | number | string | Buffer;

/** A time that a command of the protocol tells, ms since 1970; no value of SQLite. */
export class ProtocolTime {
  constructor(readonly ms: number) {}
}

const URL = 'type.googleapis.com/google.protobuf.';
const ANY_URL = 0x0a;
const ANY_VALUE = 0x12;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** The first field of an `Any`: what it holds. */
function urlField(name: string): Buffer {
  const writer = new WireWriter();
  writer.byte(ANY_URL);
  writer.text(URL + name);
  return writer.finish();
}

const EMPTY = urlField('Empty');
const INT64 = urlField('Int64Value');
const DOUBLE = urlField('DoubleValue');
const TEXT = urlField('StringValue');
const BYTES = urlField('BytesValue');
const TIMESTAMP = urlField('Timestamp');

/**
 * Writes a value as a field of type `google.protobuf.Any`, its tag and length in front. What has the default value of its
 * type has no bytes behind the type.
 *
 * @throws TypeError where SQLite has no such value.
 */
export function writeAny(writer: WireWriter, tag: number, value: unknown): void {
  writer.byte(tag);
  if (value === null || value === undefined) return writer.bytes(EMPTY);
  switch (typeof value) {
    case 'bigint':
      return writeInteger(writer, value);
    case 'number':
      return writeReal(writer, value);
    case 'string':
      return writeText(writer, value);
    default:
      if (value instanceof ProtocolTime) return writeTime(writer, value);
      if (!(value instanceof Uint8Array)) throw unbindable();
      return writeBytes(writer, value);
  }
}

function writeInteger(writer: WireWriter, value: bigint): void {
  if (value === 0n) return writer.bytes(INT64);
  if (value < INT64_MIN || value > INT64_MAX) {
    throw new RangeError(`The integer ${value} does not fit into SQLite's 64 bits.`);
  }
  head(writer, INT64, 1 + varintLength(value));
  writer.byte(0x08);
  writer.varint64(value);
}

/** A zero with a sign is no default. */
function writeReal(writer: WireWriter, value: number): void {
  if (Object.is(value, 0)) return writer.bytes(DOUBLE);
  head(writer, DOUBLE, 9);
  writer.byte(0x09);
  writer.double(value);
}

function writeText(writer: WireWriter, value: string): void {
  if (value === '') return writer.bytes(TEXT);
  const length = Buffer.byteLength(value);
  head(writer, TEXT, 1 + varintSize(length) + length);
  writer.byte(0x0a);
  writer.text(value, length);
}

function writeBytes(writer: WireWriter, value: Uint8Array): void {
  if (value.length === 0) return writer.bytes(BYTES);
  head(writer, BYTES, 1 + varintSize(value.length) + value.length);
  writer.byte(0x0a);
  writer.bytes(value);
}

function writeTime(writer: WireWriter, { ms }: ProtocolTime): void {
  const seconds = BigInt(Math.floor(ms / 1_000));
  const nanos = BigInt(ms - Number(seconds) * 1_000) * 1_000_000n;
  head(writer, TIMESTAMP, 2 + varintLength(seconds) + varintLength(nanos));
  writer.byte(0x08);
  writer.varint64(seconds);
  writer.byte(0x10);
  writer.varint64(nanos);
}

function head(writer: WireWriter, url: Buffer, length: number): void {
  writer.varint(url.length + 1 + varintSize(length) + length);
  writer.raw(url);
  writer.byte(ANY_VALUE);
  writer.varint(length);
}

/**
 * Reads the bytes of an `Any`: a well-known wrapper, a Timestamp, or Empty for NULL.
 *
 * @throws WireError where it is none of these, or cannot be read.
 */
export function readAny(bytes: Uint8Array): SqlValue {
  let url: Buffer | undefined;
  let value: Buffer = NO_BYTES;
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const { field, type } = reader.tag();
    if (field === 1 && type === WireType.BYTES) url = reader.bytes();
    else if (field === 2 && type === WireType.BYTES) value = reader.bytes();
    else reader.skip(type);
  }
  if (url === undefined) throw new WireError('it does not say what it holds (type_url)');
  // The common case without making a text of it first.
  const known = BY_URL.get(url.toString('latin1'));
  if (known !== undefined) return known(value);
  const text = url.toString();
  const read = READERS.get(text.slice(text.lastIndexOf('/') + 1));
  if (read === undefined) {
    throw new WireError(`it holds '${text.slice(0, 200)}', which is no wrapper of google.protobuf, Timestamp or Empty`);
  }
  return read(value);
}

type Read = (bytes: Buffer) => SqlValue;

const NO_BYTES = Buffer.alloc(0);

/** Reads field 1, written in one way; other fields are skipped, and the last of several counts. */
function only<T extends SqlValue>(type: number, missing: T, take: (reader: WireReader) => T): Read {
  return (bytes) => {
    let value = missing;
    const reader = new WireReader(bytes);
    while (!reader.done) {
      const tag = reader.tag();
      if (tag.field !== 1) reader.skip(tag.type);
      else if (tag.type === type) value = take(reader);
      else throw new WireError('its value is written in another way than its type says');
    }
    return value;
  };
}

const READERS: ReadonlyMap<string, Read> = new Map<string, Read>([
  ['google.protobuf.Empty', () => null],
  ['google.protobuf.Int64Value', only(WireType.VARINT, 0n, (reader) => BigInt.asIntN(64, reader.varint64()))],
  ['google.protobuf.Int32Value', only(WireType.VARINT, 0n, (reader) => BigInt.asIntN(32, reader.varint64()))],
  ['google.protobuf.UInt64Value', only(WireType.VARINT, 0n, (reader) => signed(reader.varint64()))],
  ['google.protobuf.UInt32Value', only(WireType.VARINT, 0n, (reader) => BigInt.asUintN(32, reader.varint64()))],
  ['google.protobuf.BoolValue', only(WireType.VARINT, 0n, (reader) => (reader.varint64() === 0n ? 0n : 1n))],
  ['google.protobuf.DoubleValue', only(WireType.FIXED64, 0, (reader) => reader.double())],
  ['google.protobuf.FloatValue', only(WireType.FIXED32, 0, (reader) => reader.float())],
  ['google.protobuf.StringValue', only(WireType.BYTES, '', (reader) => utf8(reader.bytes()))],
  // A copy: the view would keep the whole message in memory.
  ['google.protobuf.BytesValue', only<Buffer>(WireType.BYTES, NO_BYTES, (reader) => Buffer.from(reader.bytes()))],
  ['google.protobuf.Timestamp', readTimestamp],
]);

const BY_URL: ReadonlyMap<string, Read> = new Map(
  [...READERS].map(([name, read]) => [`type.googleapis.com/${name}`, read]),
);

/** SQLite's integers have a sign. */
function signed(value: bigint): bigint {
  if (value > INT64_MAX) throw new WireError(`the integer ${value} does not fit into SQLite's 64 bits`);
  return value;
}

/** A text of a message, which has to be UTF-8: https://protobuf.dev/programming-guides/proto3/#scalar */
export function utf8(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new WireError('a text in it is not UTF-8');
  return bytes.toString('utf8');
}

const YEAR_1 = -62_135_596_800;
const YEAR_10000 = 253_402_300_800;

/** As SQLite's date functions read it, in UTC: `2026-01-02 03:04:05.5+00:00`; text of this form sorts by time. */
function readTimestamp(bytes: Buffer): string {
  let seconds = 0n;
  let nanos = 0n;
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const { field, type } = reader.tag();
    if (field > 2) reader.skip(type);
    else if (type !== WireType.VARINT) throw new WireError('its value is written in another way than its type says');
    else if (field === 1) seconds = BigInt.asIntN(64, reader.varint64());
    else nanos = BigInt.asIntN(32, reader.varint64());
  }
  if (seconds < YEAR_1 || seconds >= YEAR_10000 || nanos < 0n || nanos >= 1_000_000_000n) {
    throw new WireError(`it is no time between the years 1 and 9999: ${seconds} s and ${nanos} ns`);
  }
  const [date = '', time = ''] = new Date(Number(seconds) * 1_000).toISOString().split('T');
  const fraction = nanos === 0n ? '' : `.${String(nanos).padStart(9, '0').replace(/0+$/, '')}`;
  return `${date} ${time.slice(0, 8)}${fraction}+00:00`;
}

function unbindable(): TypeError {
  return new TypeError('SQLite3 can only bind numbers, strings, bigints, buffers, and null');
}
