import type { RawChange, RawTransaction } from './stream-messages.js';
import { ACCOUNTS, BALANCE } from './schema.js';

const MARKER = /w\d+x\d+x\d+x/g;
const SHOWN = 10;

/** One place of a marker in the stream. */
export interface Place {
  readonly sequence: number;
  readonly node: string;
}

/**
 * What the stream says, computed without the library: where each marker stands, what tables hold whose rows are told by
 * key alone, and whether the serializable transactions make sense one after another.
 */
export class StreamModel {
  readonly places = new Map<string, Place[]>();
  readonly problems: string[] = [];
  /** Rows by table and key, as JSON. */
  readonly rows: Readonly<Record<string, Map<unknown, string>>> = {
    explicit: new Map(),
    generated: new Map(),
    counted: new Map(),
    hot: new Map(),
    account: new Map(),
    counter: new Map(),
  };
  transactions = 0;
  increments = 0;
  private readonly balances = new Map<unknown, number>();
  private counter = 0;

  take(transaction: RawTransaction): void {
    this.transactions++;
    const markers = new Set<string>();
    for (const change of transaction.changes) {
      for (const marker of markersOf(change)) markers.add(marker);
      this.follow(change, transaction);
    }
    for (const marker of markers) {
      const places = this.places.get(marker) ?? [];
      this.places.set(marker, [...places, { sequence: transaction.sequence, node: transaction.node }]);
    }
    this.checkBank(transaction);
  }

  private follow(change: RawChange, transaction: RawTransaction): void {
    const rows = this.rows[change.table ?? ''];
    const before = change.old_values;
    const after = change.new_values;
    if (rows === undefined) return;
    if (change.operation === 'INSERT' && rows.has(after?.[0]) && change.table !== 'hot') {
      this.problem(transaction, `${change.table}: two inserts of key ${String(after?.[0])}`);
    }
    if (before !== undefined) rows.delete(before[0]);
    if (after !== undefined) rows.set(after[0], JSON.stringify(after));
    if (change.table === 'account') this.followAccount(change, transaction);
    if (change.table === 'counter') this.followCounter(change, transaction);
  }

  private followAccount({ old_values: before, new_values: after }: RawChange, transaction: RawTransaction): void {
    const known = this.balances.get(after?.[0]);
    if (before !== undefined && before[1] !== known) {
      this.problem(transaction, `account ${String(after?.[0])}: saw ${String(before[1])}, but it was ${known}`);
    }
    this.balances.set(after?.[0], after?.[1] as number);
  }

  private followCounter({ old_values: before, new_values: after }: RawChange, transaction: RawTransaction): void {
    if (before === undefined) return;
    if (before[1] !== this.counter || after?.[1] !== this.counter + 1) {
      this.problem(transaction, `counter: ${String(before[1])} to ${String(after?.[1])}, but it was ${this.counter}`);
    }
    this.counter = after?.[1] as number;
    this.increments++;
  }

  private checkBank(transaction: RawTransaction): void {
    if (this.balances.size === 0 || !transaction.changes.some(({ table }) => table === 'account')) return;
    const total = [...this.balances.values()].reduce((sum, balance) => sum + balance, 0);
    if (total !== ACCOUNTS * BALANCE) this.problem(transaction, `the accounts hold ${total}`);
  }

  private problem({ sequence, node }: RawTransaction, text: string): void {
    if (this.problems.length < SHOWN) this.problems.push(`at ${sequence} by ${node}: ${text}`);
  }
}

/** The markers that a change brings. Deleting a row brings its marker with a minus. */
function markersOf({ operation, table, command, old_values: before, new_values: after }: RawChange): string[] {
  if (operation === 'SQL') return command?.match(MARKER) ?? [];
  if (operation === 'DELETE') return table === 'explicit' ? [`-${String(before?.[0])}`] : [];
  return after?.flatMap((value) => (typeof value === 'string' ? (value.match(MARKER) ?? []) : [])) ?? [];
}
