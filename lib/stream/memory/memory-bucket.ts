import type { KeyValueEntry } from '../key-value.js';

/** The values of one bucket in memory. */
export class MemoryBucket {
  private readonly byKey = new Map<string, KeyValueEntry>();
  private revision = 0;

  constructor(
    private readonly ttlMs: number | undefined,
    private readonly now: () => number,
  ) {}

  get(key: string): KeyValueEntry | undefined {
    const entry = this.byKey.get(key);
    if (entry === undefined || this.ttlMs === undefined || this.now() - entry.stored < this.ttlMs) return entry;
    this.byKey.delete(key);
    return undefined;
  }

  /** Stores where the key is at a revision, 0 where it is to hold nothing. */
  put(key: string, value: string, expected: number): number | undefined {
    if ((this.get(key)?.revision ?? 0) !== expected) return undefined;
    const revision = ++this.revision;
    this.byKey.set(key, { key, value, revision, stored: this.now() });
    return revision;
  }

  delete(key: string, expected: number | undefined): boolean {
    const entry = this.get(key);
    if (entry === undefined) return true;
    if (expected !== undefined && expected !== entry.revision) return false;
    this.revision++;
    return this.byKey.delete(key);
  }

  entries(prefix: string): KeyValueEntry[] {
    const start = `${prefix}.`;
    const keys = [...this.byKey.keys()].filter((key) => key.startsWith(start) && !key.includes('.', start.length));
    return keys.map((key) => this.get(key)).filter((entry) => entry !== undefined);
  }
}
