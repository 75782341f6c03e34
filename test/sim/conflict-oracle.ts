import type { Database } from 'better-sqlite3';
import type { HAConflict, HARow, HAValue } from '../../lib/common/events.js';
import type { ChangeSet, RowChange, SqlValue } from '../../lib/changeset/changeset.js';
import type { RowWitness } from '../../lib/apply/applier.js';
import type { PlannedChange } from '../../lib/apply/row-applier.js';
import { RECENT_LIMITS } from '../../lib/apply/recent-messages.js';
import type { RowPlan } from '../../lib/apply/row-plan.js';

/** Who did something, and where in the stream. */
interface Author {
  readonly sequence: number;
  readonly origin: string;
  readonly node: string;
  /** Number of its first message and of its last. */
  readonly numbers: readonly [first: number, last: number];
}

interface Row {
  /** As an event names it. */
  readonly key: HARow | bigint;
  readonly rowid: bigint;
  /** It is found by all its values. */
  readonly loose: boolean;
  readonly values: HARow;
}

/** A message with the place where its writer stood. */
export interface Placed extends Author {
  readonly epoch: number;
  /** So many of its origin in front of it its writer knew besides, by number. */
  readonly behind: number;
}

/** How much of the stream there is up to a message. */
interface Extent {
  readonly sequence: number;
  readonly bytes: number;
}

/** A part of what nodes remember: they count each transaction whole at its end, and the rows that it removed too. */
const REMEMBERED_BYTES = RECENT_LIMITS.bytes / 2;

/**
 * Finds conflicts the naive way: it copies the whole table in front of each change and behind it, and remembers for every
 * row that ever was who touched it last. Nothing of the detector is used but the change as the applier takes it.
 */
export class ConflictOracle {
  readonly found: HAConflict[] = [];
  /** Who changed or removed a row last, by table and row. */
  private readonly last = new Map<string, Author>();
  /** Who removed a row without a key last, by table and values, and whether by an UPDATE of it. */
  private readonly removed = new Map<string, Author & { readonly moved: boolean }>();
  private readonly extents: Extent[] = [{ sequence: 0, bytes: 0 }];
  /** Sequences of messages: there was more in front of them that their writers had not seen than nodes may remember. */
  private readonly beyond = new Set<number>();

  constructor(private readonly db: Database) {}

  /** True where nodes may have forgotten what the writer of a message had not seen. They tell less then, and still alike. */
  isBeyond(sequence: number): boolean {
    return this.beyond.has(sequence);
  }

  /** A transaction comes to be applied. `bytes`: of all messages up to its last one. */
  meet({ sequence, epoch }: Placed, bytes: number): void {
    const { extents } = this;
    const seenLast = extents.findLastIndex((extent) => extent.sequence <= epoch);
    // Up to the end of a transaction that the writer had seen: of the next one, parts may lie in front of the epoch.
    const seen = extents[Math.max(0, seenLast)] as Extent;
    if (bytes - seen.bytes > REMEMBERED_BYTES || extents.length - seenLast > RECENT_LIMITS.messages) {
      this.beyond.add(sequence);
    }
    extents.push({ sequence, bytes });
  }

  /** Runs something that may rename tables: what is known of their rows goes with them. */
  following(work: () => void): void {
    const before = this.tableNames();
    work();
    const after = this.tableNames();
    const names = new Set(after.values());
    for (const [page, name] of before) {
      const now = after.get(page);
      if (now !== undefined && now !== name && !names.has(name)) this.rename(name, now);
    }
  }

  witness(message: Placed): RowWitness {
    return {
      before: (planned) => {
        const before = this.rows(planned.plan);
        return () => this.compare(message, planned, before, this.rows(planned.plan));
      },
    };
  }

  /** Tables by root page, which they keep under every name. */
  private tableNames(): Map<number, string> {
    const tables = this.db.prepare(`SELECT rootpage, name FROM sqlite_schema WHERE type = 'table'`).raw().all();
    return new Map(tables as [number, string][]);
  }

  private rename(from: string, to: string): void {
    for (const map of [this.last, this.removed] as Map<string, Author>[]) {
      for (const [id, author] of Array.from(map)) {
        if (!id.startsWith(`${from} `)) continue;
        map.delete(id);
        map.set(`${to}${id.slice(from.length)}`, author);
      }
    }
  }

  private compare(by: Placed, { plan, change }: PlannedChange, before: Rows, after: Rows): void {
    const target = this.targetOf(plan, change, before);
    const removedHere: [string, boolean][] = [];
    for (const [id, row] of before) {
      const now = after.get(id);
      if (now !== undefined && same(now.values, row.values)) continue;
      const seen = (id === target?.id && target.seen) || this.isKept(plan, change, row);
      const author = this.last.get(id);
      if (!seen && this.isMeanwhile(by, author)) this.tell(by, plan, change, row.key, row.values, author);
      this.last.set(id, by);
      removedHere.push([valuesId(plan, row.values), id === target?.id && change.operation === 'UPDATE']);
    }
    const oldKey = change.oldValues && keyIn(plan, change.oldValues);
    const isThere = oldKey !== undefined && [...before.values()].some((row) => this.hasKey(plan, row, oldKey));
    if (change.operation === 'UPDATE' && target === undefined && !isThere) this.broughtBack(by, plan, change);
    for (const [id, moved] of removedHere) this.removed.set(id, { ...by, moved });
    for (const id of after.keys()) if (!same(before.get(id)?.values, after.get(id)?.values)) this.last.set(id, by);
    // Who writes a row has touched it, also where it was like that before.
    if (target !== undefined && after.has(target.id)) this.last.set(target.id, by);
    for (const id of this.namedBy(plan, change)) this.last.set(id, by);
  }

  /** It has the values of the row that takes its place, so nothing is lost. */
  private isKept(plan: RowPlan, change: RowChange, { values }: Row): boolean {
    const { newValues } = change;
    return newValues !== undefined && same(object(namesOf(plan), plan.pick(newValues)), values);
  }

  /** The rows that a change names by rowid or key. */
  private namedBy(plan: RowPlan, { oldValues, newValues, oldRowid, newRowid = oldRowid }: RowChange): string[] {
    const { identity, name } = plan.table;
    const named = (image: readonly SqlValue[] | undefined, rowid: bigint | undefined): string[] => {
      if (image === undefined) return [];
      if (identity === 'rowid' && rowid !== undefined) return [`${name} at ${rowid}`];
      const key = keyIn(plan, image);
      return key === undefined || identity === 'values' ? [] : [this.keyId(plan, key)];
    };
    return [...named(oldValues, oldRowid), ...named(newValues, newRowid)];
  }

  private broughtBack(by: Placed, plan: RowPlan, change: RowChange): void {
    const { oldValues = [], oldRowid = 0n } = change;
    const keyed = keyIn(plan, oldValues);
    const key = keyed === undefined ? oldRowid : object(plan.table.pk, keyed);
    const [id] = this.namedBy(plan, { ...change, operation: 'DELETE' });
    if (id !== undefined && isNamed(plan, change)) {
      const author = this.last.get(id);
      if (this.isMeanwhile(by, author)) this.tell(by, plan, change, key, undefined, author);
      return;
    }
    const author = this.removed.get(valuesId(plan, object(namesOf(plan), plan.pick(oldValues))));
    if (author?.moved === false && this.isMeanwhile(by, author)) this.tell(by, plan, change, key, undefined, author);
  }

  private hasKey(plan: RowPlan, { values }: Row, key: readonly SqlValue[]): boolean {
    const own = plan.table.pk.map((name) => values[name] ?? null);
    return !own.includes(null) && this.keyId(plan, own) === this.keyId(plan, key);
  }

  private isMeanwhile(by: Placed, author: Author | undefined): author is Author {
    if (author === undefined || author.sequence <= by.epoch || author.sequence === by.sequence) return false;
    if (author.origin !== by.origin) return true;
    const [first] = by.numbers;
    return author.numbers[0] < first - by.behind || author.numbers[1] >= first;
  }

  private tell(by: Placed, plan: RowPlan, change: RowChange, key: Row['key'], lost: HARow | undefined, loser: Author) {
    const { newValues, operation } = change;
    this.found.push({
      type: 'conflict',
      sequence: BigInt(by.sequence),
      table: plan.table.name,
      key,
      operation,
      lost,
      winner: {
        node: by.node,
        sequence: BigInt(by.sequence),
        values: newValues === undefined ? undefined : object(namesOf(plan), plan.pick(newValues)),
      },
      loser: { node: loser.node, sequence: BigInt(loser.sequence) },
    });
  }

  private rows(plan: RowPlan): Rows {
    const { name, columns, rowid, pk } = plan.table;
    const names = columns.map((column) => column.name);
    const list = names.map((column) => `"${column}"`).join(', ');
    const read = this.db
      .prepare(`SELECT ${rowid ?? '0'}, ${list} FROM main."${name}"`)
      .safeIntegers(true)
      .raw();
    const rows: Rows = new Map();
    for (const [id, ...values] of read.all() as [bigint, ...SqlValue[]][]) {
      const key = plan.table.pkIndexes.map((index) => values[index] ?? null);
      const hasKey = pk.length > 0 && !key.includes(null);
      const byKey = hasKey && plan.table.identity === 'key';
      rows.set(byKey ? this.keyId(plan, key) : `${name} at ${id}`, {
        key: hasKey ? object(pk, key) : id,
        rowid: id,
        loose: !byKey && plan.table.identity !== 'rowid',
        values: object(names, values),
      });
    }
    return rows;
  }

  /** The row that an UPDATE or a DELETE is about, and whether it is as its writer saw it. */
  private targetOf(plan: RowPlan, change: RowChange, rows: Rows): { id: string; seen: boolean } | undefined {
    if (change.operation === 'INSERT') return undefined;
    const image = change.oldValues ?? [];
    const old = object(namesOf(plan), plan.pick(image));
    const isLike = ({ values }: Row): boolean => namesOf(plan).every((name) => equal(values[name], old[name]));
    const [id] = this.namedBy(plan, { ...change, operation: 'DELETE' });
    if (id !== undefined && isNamed(plan, change)) {
      const row = rows.get(id);
      return row === undefined ? undefined : { id, seen: isLike(row) };
    }
    const all = [...rows].filter(([, row]) => row.loose && isLike(row));
    const here = all.find(([, { rowid }]) => rowid === change.oldRowid);
    const first = here ?? all.sort(([, a], [, b]) => Number(a.rowid - b.rowid))[0];
    return first === undefined ? undefined : { id: first[0], seen: true };
  }

  private keyId({ table }: RowPlan, key: readonly SqlValue[]): string {
    const sql = this.db.prepare('SELECT sql FROM sqlite_schema WHERE name = ?').pluck().get(table.name) as string;
    const text = show(key);
    return `${table.name} ${/nocase/i.test(sql) ? text.toLowerCase() : text}`;
  }
}

type Rows = Map<string, Row>;

/** The key in an image; undefined where there is none, or NULL in it. */
function keyIn(plan: RowPlan, image: readonly SqlValue[]): SqlValue[] | undefined {
  const key = plan.keyOf(image);
  return key.length === 0 || key.includes(null) ? undefined : key;
}

/** True where the row that a change is about is found by rowid or key. */
function isNamed(plan: RowPlan, { oldValues = [], oldRowid }: RowChange): boolean {
  const { identity } = plan.table;
  if (identity === 'rowid' && oldRowid !== undefined) return true;
  return identity !== 'values' && keyIn(plan, oldValues) !== undefined;
}

function valuesId(plan: RowPlan, values: HARow): string {
  return `${plan.table.name} ${show(namesOf(plan).map((name) => values[name] ?? null))}`;
}

function namesOf(plan: RowPlan): string[] {
  return plan.targets.map((target) => plan.table.columns[target]?.name ?? '');
}

function object(names: readonly string[], values: readonly SqlValue[]): HARow {
  return Object.fromEntries(names.map((name, index) => [name, (values[index] ?? null) as HAValue]));
}

function same(a: HARow | undefined, b: HARow | undefined): boolean {
  return a !== undefined && b !== undefined && Object.keys(a).every((name) => equal(a[name], b[name]));
}

function equal(a: HAValue | undefined, b: HAValue | undefined): boolean {
  return show([a ?? null]) === show([b ?? null]);
}

function show(values: readonly SqlValue[]): string {
  const list = values.map((value) => (Buffer.isBuffer(value) ? `x${value.toString('hex')}` : literal(value)));
  return list.join(', ');
}

function literal(value: unknown): string {
  if (typeof value === 'bigint') return String(value);
  return typeof value === 'number' ? `${value}r` : JSON.stringify(value);
}

/** The message as the oracle has to know it. */
export function placed(
  message: { sequence: number; id: string | undefined; chunk: string | undefined },
  { node, epoch, behind = 0 }: ChangeSet,
): Placed {
  const [origin = node, last = 0] = numberOf(message.id);
  const [, first = last] = numberOf(message.chunk?.split(';')[0]);
  return { sequence: message.sequence, origin, node, numbers: [first, last], epoch: Number(epoch), behind };
}

function numberOf(id: string | undefined): [] | [origin: string, n: number] {
  const end = id?.lastIndexOf('.') ?? -1;
  return id === undefined || end < 0 ? [] : [id.slice(0, end), Number(id.slice(end + 1))];
}
