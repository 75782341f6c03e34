import { createHash } from 'node:crypto';
import { ObjectDamaged } from './object-store.js';
import type { ObjectInfo } from './object-store.js';

const PREFIX = 'SHA-256=';

/** Counts and hashes the bytes of an object. */
export class ObjectDigest {
  size = 0;
  private readonly hash = createHash('sha256');

  add(piece: Uint8Array): void {
    this.size += piece.length;
    this.hash.update(piece);
  }

  /** In the format of NATS' object store; call once. */
  end(): string {
    return `${PREFIX}${this.hash.digest('base64').replaceAll('+', '-').replaceAll('/', '_')}`;
  }

  /** @throws ObjectDamaged where the bytes are not those of an object. Call once. */
  verify({ name, size, digest }: ObjectInfo): void {
    if (this.size !== size) throw new ObjectDamaged(`'${name}' has ${this.size} bytes instead of ${size}`);
    if (bytesOf(this.end()) !== bytesOf(digest)) throw new ObjectDamaged(`the digest of '${name}' does not match`);
  }
}

/** Clients differ in alphabet and padding. */
function bytesOf(digest: string): string {
  if (!digest.startsWith(PREFIX)) return '';
  return Buffer.from(digest.slice(PREFIX.length), 'base64url').toString('hex');
}

/** The same bytes, not copied: large copies keep the garbage collector, and so the event loop, busy. */
export function viewOf(piece: Uint8Array): Buffer {
  return Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
}

/** The same bytes in pieces of one size, the last one excepted. */
export async function* inChunks(data: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Buffer> {
  let waiting: Uint8Array[] = [];
  let length = 0;
  for await (const piece of data) {
    waiting.push(piece);
    length += piece.length;
    if (length < size) continue;
    const all = waiting.length === 1 ? viewOf(piece) : Buffer.concat(waiting);
    let from = 0;
    for (; length - from >= size; from += size) yield all.subarray(from, from + size);
    waiting = from === length ? [] : [all.subarray(from)];
    length -= from;
  }
  if (length > 0) yield Buffer.concat(waiting);
}
