import { MemoryBucket } from './memory-bucket.js';
import { MemoryLog } from './memory-log.js';
import type { NewMessage } from './memory-log.js';
import { MemoryObjects } from './memory-objects.js';

/** What a test may replace. */
export interface MemoryBrokerSettings {
  /** Milliseconds since 1970. Default `Date.now`. */
  readonly now?: () => number;
  /** Runs acknowledgements and deliveries later, in the order of the calls. Default `setImmediate`. */
  readonly defer?: (task: () => void) => void;
}

/**
 * A broker in this process: named streams without a server, for tests, simulators and single-process use. Nodes reach it
 * through a `MemoryStream` each.
 *
 * The methods that harm a stream take its name, which may be left out while the broker has only one.
 */
export class MemoryBroker {
  readonly defer: (task: () => void) => void;
  private readonly now: () => number;
  private readonly logs = new Map<string, MemoryLog>();
  private readonly buckets = new Map<string, MemoryBucket>();
  private readonly stores = new Map<string, MemoryObjects>();
  private readonly listeners = new Set<() => void>();
  private made = 0;

  constructor(settings: MemoryBrokerSettings = {}) {
    this.now = settings.now ?? Date.now;
    this.defer = settings.defer ?? ((task) => void setImmediate(task));
  }

  /** The stream of a name; made where it is missing. One that exists is left as it is. */
  ensure(stream: string, replicas: number): MemoryLog {
    return this.logs.get(stream) ?? this.make(stream, replicas);
  }

  /** The stream of a name, undefined where there is none. */
  log(stream: string): MemoryLog | undefined {
    return this.logs.get(stream);
  }

  /** The key-value bucket of a name; made where it is missing. */
  bucket(name: string, ttlMs: number | undefined): MemoryBucket {
    const known = this.buckets.get(name);
    if (known !== undefined) return known;
    const bucket = new MemoryBucket(ttlMs, this.now);
    this.buckets.set(name, bucket);
    return bucket;
  }

  /** The object store of a name; made where it is missing. */
  objects(name: string): MemoryObjects {
    let store = this.stores.get(name);
    if (store === undefined) this.stores.set(name, (store = new MemoryObjects(this.now)));
    return store;
  }

  /** Calls the listener whenever there may be something to deliver. Returns the function that ends it. */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Tells the listeners that there may be something to deliver. */
  changed(): void {
    for (const listener of this.listeners) listener();
  }

  /** Stores a message without a node, such as one of go-ha, which has neither id nor version. Returns its sequence. */
  append(message: NewMessage, stream?: string): number {
    const { sequence } = this.existing(stream).append(message);
    this.changed();
    return sequence;
  }

  /** Appends a stored message again, under the same id: a retry that came after the duplicate window. */
  republish(sequence: number, stream?: string): number {
    const message = this.existing(stream).at(sequence);
    if (message === undefined) throw new RangeError(`The stream has no message ${sequence}.`);
    return this.append(message, stream);
  }

  /** Removes all messages up to a sequence, that included. */
  trim(toSequence: number, stream?: string): void {
    this.existing(stream).trim(toSequence);
  }

  /** Removes all messages of one subject. */
  purge(subject: string, stream?: string): void {
    this.existing(stream).purge(subject);
  }

  /** Removes all messages behind a sequence; their sequences are used again. */
  truncate(afterSequence: number, stream?: string): void {
    this.existing(stream).truncate(afterSequence);
  }

  /** Ends the duplicate window of all messages so far. */
  forgetIds(stream?: string): void {
    this.existing(stream).forgetIds();
  }

  /** Puts a new, empty stream in the place of one. */
  recreate(stream?: string): void {
    const name = stream ?? this.onlyName();
    this.make(name, this.existing(name).replicas);
  }

  private make(stream: string, replicas: number): MemoryLog {
    // The counter stands for the nanoseconds: no two streams are made at one moment.
    const created = new Date(this.now()).toISOString().replace('Z', `${String(++this.made).padStart(6, '0')}Z`);
    const log = new MemoryLog(created, replicas, this.now);
    this.logs.set(stream, log);
    return log;
  }

  private existing(stream: string = this.onlyName()): MemoryLog {
    const log = this.logs.get(stream);
    if (log === undefined) throw new RangeError(`There is no stream '${stream}'.`);
    return log;
  }

  private onlyName(): string {
    const [name, ...others] = this.logs.keys();
    if (name === undefined || others.length > 0) {
      throw new RangeError(`The broker has ${this.logs.size} streams: name one.`);
    }
    return name;
  }
}
