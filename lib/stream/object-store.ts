/**
 * A store of large objects at the server, in the format of NATS' object store, so that go-ha reads what is put here and the
 * other way round: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
 *
 * What an implementation promises:
 *
 * 1. An object is there as a whole or not at all: while a new one is uploaded the old one is, and it changes in one step.
 * 2. `put` stores only where the object is still at the revision that the caller saw when it began; of several callers at
 *    once at most one wins. A refusal is an answer (`undefined`), never an error.
 * 3. `read` gives exactly the bytes that `size` and `digest` speak of, or fails.
 * 4. What was replaced can still be read until the next upload of that object begins.
 * 5. What uploads that died have left is removed by the next one that succeeds.
 * 6. Memory stays flat: neither direction holds more than a few pieces.
 *
 * All calls fail with a retryable HAError `HA_STREAM_CONNECT` where the server does not answer, and with
 * `HA_SNAPSHOT_STORE` where it refuses: no permission, or no room.
 */
export interface ObjectStore {
  /** What is stored under a name, undefined where nothing is. */
  info(name: string): Promise<ObjectInfo | undefined>;
  /** Stores an object. Returns it; undefined where the name is at another revision. */
  put(upload: ObjectUpload): Promise<ObjectInfo | undefined>;
  /**
   * The bytes of an object, in pieces.
   *
   * @throws ObjectGone where it was replaced or deleted so long ago that its bytes are gone; ObjectDamaged where they are
   * not those that were put.
   */
  read(info: ObjectInfo): AsyncIterable<Buffer>;
  /**
   * Deletes an object that is at a revision. False where it is at another. With revision 0 it removes what interrupted
   * uploads have left under the name, and what is being uploaded.
   */
  delete(name: string, revision: number): Promise<boolean>;
}

export interface ObjectInfo {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** `SHA-256=` and the digest in base64 for URLs. */
  readonly digest: string;
  /** The first value of each. */
  readonly headers: Readonly<Record<string, string>>;
  /** Grows with each change within the store. */
  readonly revision: number;
  /** When the server stored it, ms since 1970. */
  readonly stored: number;
  /** Tells it from all other objects that were ever stored under the name. */
  readonly id: string;
  /** Number of the pieces that it is stored in. */
  readonly chunks: number;
  /** What is wrong with what the store says of it: it cannot be read, but replaced. */
  readonly damage?: string | undefined;
}

export interface ObjectUpload {
  readonly name: string;
  readonly headers: Readonly<Record<string, string>>;
  /** In pieces of any size. The source may fill the memory of one anew {@link OBJECT_PIECES_HELD} pieces later. */
  readonly data: AsyncIterable<Uint8Array>;
  /** The file that `data` reads, where there is one: an implementation may send that, and then asks nothing of `data`. */
  readonly file?: UploadFile | undefined;
  /** What the caller saw under the name; 0 where it saw nothing. */
  readonly revision: number;
}

export interface UploadFile {
  readonly path: string;
  /** Told of bytes that have come through. A promise holds the next ones back; what it throws ends the upload. */
  readonly passed: (bytes: number) => void | Promise<void>;
}

/** The bytes of an object are gone, because it was replaced or deleted. */
export class ObjectGone extends Error {
  override readonly name = 'ObjectGone';
}

/** The bytes of an object are not those that were put. */
export class ObjectDamaged extends Error {
  override readonly name = 'ObjectDamaged';
}

/** Size of the pieces that objects are stored in, bytes: what other clients use too. */
export const OBJECT_CHUNK = 128 * 1024;
/** So many pieces of an upload are kept as they were given, at most. */
export const OBJECT_PIECES_HELD = 16;
