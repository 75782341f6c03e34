/**
 * A bucket of keys and values at the server, changed by compare-and-set: what the nodes of a cluster agree on besides the
 * stream itself, such as who bears a name. Nothing that the data rests on is kept here: without buckets replication is as
 * safe as with them.
 *
 * What an implementation promises:
 *
 * 1. Every stored value has a revision, larger than all before it in the bucket. `create` and `update` store only where the
 *    key is absent, or still at the revision that the caller saw; of several callers at once exactly one wins.
 * 2. A refusal is an answer (`undefined`, `false`), never an error: the caller reads the key and decides.
 * 3. An error leaves open whether the value was stored. The caller puts something of its own into each value, and finds out
 *    by reading.
 * 4. With a time to live a key that nobody stores again is gone after it, as if it had been deleted.
 * 5. Reads come from the server that stores, and never show less than what was answered as stored.
 *
 * Keys are tokens joined by dots; a token is any text without dots that is not empty. Values are text.
 *
 * All calls throw {@link KeyValueDenied} where the server says that this client may not have the bucket, and a retryable
 * HAError `HA_STREAM_CONNECT` where it does not answer.
 */
export interface KeyValueBucket {
  /** What the key holds, undefined where it holds nothing. */
  get(key: string): Promise<KeyValueEntry | undefined>;
  /** Stores where the key holds nothing. Returns the revision; undefined where it holds something. */
  create(key: string, value: string): Promise<number | undefined>;
  /** Stores where the key is at a revision. Returns the new one; undefined where it is at another, or holds nothing. */
  update(key: string, value: string, revision: number): Promise<number | undefined>;
  /** Deletes, with a revision only where the key is at it. False where it is at another. A key that is gone is no error. */
  delete(key: string, revision?: number): Promise<boolean>;
  /** What all keys hold that consist of these tokens and one more, in no order. Not a snapshot: keys are read one by one. */
  entries(prefix: string): Promise<KeyValueEntry[]>;
}

export interface KeyValueEntry {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
  /** When the server stored it, by the server's clock, milliseconds since 1970. */
  readonly stored: number;
}

/** How to make a bucket that is missing; one that exists is left as it is. */
export interface KeyValueSettings {
  /** Time to live of each value, ms. Default: for ever. */
  readonly ttlMs?: number | undefined;
}

/** The server, or the account, does not let this client have a bucket. Asking again would not help. */
export class KeyValueDenied extends Error {
  override readonly name = 'KeyValueDenied';
}
