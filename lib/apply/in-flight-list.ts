import type { InFlight } from '../sqlite/outbox-store.js';

/** The transactions in flight, in order, with what has to be known of them at once. */
export class InFlightList {
  private entries: InFlight[];
  private head = 0;
  private readonly byId = new Map<string, InFlight>();
  private readonly counts = new Map<string, number>();

  constructor(entries: readonly InFlight[]) {
    this.entries = [];
    this.add(entries);
  }

  get size(): number {
    return this.entries.length - this.head;
  }

  /** The entry at a place, from 0. */
  at(index: number): InFlight | undefined {
    return this.entries[this.head + index];
  }

  all(): InFlight[] {
    return this.entries.slice(this.head);
  }

  find(id: string): InFlight | undefined {
    return this.byId.get(id);
  }

  /** True where one of them changes a table; its name in lower case. */
  touches(table: string): boolean {
    return this.counts.has(table);
  }

  /** The tables that they change; names in lower case. */
  get tables(): readonly string[] {
    return [...this.counts.keys()];
  }

  add(entries: readonly InFlight[]): void {
    for (const entry of entries) {
      this.entries.push(entry);
      this.byId.set(entry.id, entry);
      this.count(entry, 1);
    }
  }

  /** Takes entries out, nearly always from the front. */
  remove(entries: readonly InFlight[]): void {
    const gone = new Set(entries);
    for (const entry of entries) {
      this.byId.delete(entry.id);
      this.count(entry, -1);
    }
    while (this.head < this.entries.length && gone.delete(this.entries[this.head] as InFlight)) this.head++;
    if (gone.size > 0) this.entries = this.all().filter((entry) => !gone.has(entry));
    else if (this.head > 1_000 || this.head === this.entries.length) this.entries = this.all();
    else return;
    this.head = 0;
  }

  /** Puts an entry in the place of another of the same id. */
  replace(before: InFlight, after: InFlight): void {
    const at = this.entries.indexOf(before, this.head);
    if (at < 0) return;
    this.entries[at] = after;
    this.byId.set(after.id, after);
    this.count(before, -1);
    this.count(after, 1);
  }

  private count({ tables }: InFlight, step: number): void {
    for (const table of tables) {
      const count = (this.counts.get(table) ?? 0) + step;
      if (count > 0) this.counts.set(table, count);
      else this.counts.delete(table);
    }
  }
}
