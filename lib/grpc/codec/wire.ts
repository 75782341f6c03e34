/**
 * The wire format of Protocol Buffers: https://protobuf.dev/programming-guides/encoding/
 *
 * By hand, because the contract packs every cell of a result into an `Any`: through reflection that costs three times as
 * much, and turns 64-bit integers into numbers or objects on the way.
 */

/** How a field is written. */
export const WireType = { VARINT: 0, FIXED64: 1, BYTES: 2, FIXED32: 5 } as const;

const FIRST_BYTES = 256;
const TWO_32 = 2 ** 32;

/** What cannot be read as Protocol Buffers. */
export class WireError extends Error {}

/** Writes fields one behind another into a buffer that grows. */
export class WireWriter {
  private buffer = Buffer.allocUnsafe(FIRST_BYTES);
  private at = 0;

  get length(): number {
    return this.at;
  }

  /** The bytes so far; valid until the next write. */
  view(): Buffer {
    return this.buffer.subarray(0, this.at);
  }

  /** A copy of the bytes so far. */
  finish(): Buffer {
    return Buffer.from(this.view());
  }

  /** Begins anew; a buffer that has grown beyond `keep` bytes is given up. */
  reset(keep = Number.POSITIVE_INFINITY): void {
    this.at = 0;
    if (this.buffer.length > keep) this.buffer = Buffer.allocUnsafe(FIRST_BYTES);
  }

  byte(value: number): void {
    this.reserve(1);
    this.buffer[this.at++] = value;
  }

  tag(field: number, type: number): void {
    this.varint(field * 8 + type);
  }

  /** A whole number from 0 to 2^53-1. */
  varint(value: number): void {
    this.reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.buffer[this.at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.buffer[this.at++] = rest;
  }

  /** Any 64-bit integer; a negative one takes ten bytes. */
  varint64(value: bigint): void {
    if (value >= 0n && value <= 0x1f_ffff_ffff_ffffn) return this.varint(Number(value));
    let rest = BigInt.asUintN(64, value);
    this.reserve(10);
    while (rest >= 0x80n) {
      this.buffer[this.at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.buffer[this.at++] = Number(rest);
  }

  double(value: number): void {
    this.reserve(8);
    this.at = this.buffer.writeDoubleLE(value, this.at);
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** A length, and that many bytes. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** A length in bytes, and the text. */
  text(text: string, length = Buffer.byteLength(text)): void {
    this.varint(length);
    this.reserve(length);
    this.buffer.write(text, this.at, length, 'utf8');
    this.at += length;
  }

  private reserve(count: number): void {
    const needed = this.at + count;
    if (needed <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2));
    this.buffer.copy(larger, 0, 0, this.at);
    this.buffer = larger;
  }
}

/** Reads fields one after another; whatever is unknown can be skipped. */
export class WireReader {
  private at = 0;
  private readonly buffer: Buffer;

  constructor(bytes: Uint8Array) {
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.at >= this.buffer.length;
  }

  /** The next field's number and how it is written. */
  tag(): { readonly field: number; readonly type: number } {
    const value = this.varint();
    const field = Math.floor(value / 8);
    if (field === 0 || field > 0x1fff_ffff) throw new WireError(`there is no field ${field}`);
    return { field, type: value % 8 };
  }

  /** A whole number below 2^53. */
  varint(): number {
    const { at } = this;
    const small = this.small();
    if (small >= 0) return small;
    this.at = at;
    const value = this.varint64();
    if (value > 0x1f_ffff_ffff_ffffn) throw new WireError('a number is too large here');
    return Number(value);
  }

  /** 64 bits, as an unsigned number. */
  varint64(): bigint {
    const { at } = this;
    const small = this.small();
    if (small >= 0) return BigInt(small);
    this.at = at;
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new WireError('a number has no end');
  }

  double(): number {
    return this.take(8).readDoubleLE(0);
  }

  float(): number {
    return this.take(4).readFloatLE(0);
  }

  /** A view of the bytes behind a length. */
  bytes(): Buffer {
    return this.take(this.varint());
  }

  skip(type: number): void {
    if (type === WireType.VARINT) this.varint64();
    else if (type === WireType.FIXED64) this.take(8);
    else if (type === WireType.BYTES) this.bytes();
    else if (type === WireType.FIXED32) this.take(4);
    else throw new WireError(`a field is written in the unknown way ${type}`);
  }

  /** A number of up to four bytes, as nearly all are; -1 where it is longer. */
  private small(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return -1;
  }

  private byte(): number {
    const value = this.buffer[this.at++];
    if (value === undefined) throw new WireError('it ends too early');
    return value;
  }

  private take(count: number): Buffer {
    const end = this.at + count;
    if (end > this.buffer.length) throw new WireError('it ends too early');
    const part = this.buffer.subarray(this.at, end);
    this.at = end;
    return part;
  }
}

/** How many bytes {@link WireWriter.varint64} takes for a number. */
export function varintLength(value: bigint): number {
  if (value < 0n) return 10;
  if (value < BigInt(TWO_32)) return varintSize(Number(value));
  let length = 5;
  for (let rest = value >> 35n; rest > 0n; rest >>= 7n) length++;
  return length;
}

/** How many bytes {@link WireWriter.varint} takes for a number below 2^32. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : 5;
}
