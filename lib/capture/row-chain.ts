import type { TableInfo } from '../sqlite/schema.js';
import { splitValues } from './recode.js';
import type { LogKind } from './triggers.js';

/** An entry of the log: a row change, or the mark that a change of a row was about to be made. */
export interface LogEntry {
  readonly seq: number;
  readonly kind: LogKind;
  /** Where the row was and where it came to be: see {@link placeOf}; null where it was not, or is not any more. */
  readonly from: string | null;
  readonly to: string | null;
  readonly before: Buffer | null;
  readonly after: Buffer | null;
  /** Of a mark: so many other rows stand where the row is to come, and are like it already. */
  readonly rivals?: number;
}

/** A change that is logged behind others of its table that happened after it. */
interface OpenChange {
  readonly entry: LogEntry;
  told: boolean;
  /** So many rows like the one that it makes are not made by it: it has not happened as long as a BEFORE trigger finds them. */
  rivals: number;
}

/** What tells the rows of a table apart within a transaction: the rowid, else the key, else all values. */
export function placeOf(
  { rowid, withoutRowid, pkIndexes }: TableInfo,
  at: string | null,
  image: Buffer | null,
): string | null {
  if (rowid !== undefined || image === null) return at;
  if (!withoutRowid) return image.toString('latin1');
  const values = splitValues(image);
  return pkIndexes.map((index) => values[index]).join(',');
}

/** An entry as far as nesting needs it. */
export interface LogOutline extends Pick<LogEntry, 'seq' | 'kind' | 'from' | 'before'> {
  readonly isMark: boolean;
}

/**
 * Where changes end that were marked, for those with other entries of their table in between. A mark without an end belongs
 * to a row that was left alone: an ignored one, or one that a BEFORE trigger took away.
 */
export function nestedChanges(outlines: Iterable<LogOutline>): Map<number, number> {
  const nested = new Map<number, number>();
  const last = new Map<TableInfo, number>();
  const open: LogOutline[] = [];
  for (const outline of outlines) {
    const { seq, kind, from, before } = outline;
    if (outline.isMark) open.push(outline);
    else if (kind.operation !== 'INSERT') {
      const mark = open.findLastIndex(
        (each) => each.kind === kind && each.from === from && before !== null && each.before?.equals(before) === true,
      );
      const start = open[mark]?.seq;
      if (mark >= 0) open.length = mark;
      if (start !== undefined && last.get(kind.table) !== start) nested.set(start, seq);
    }
    last.set(kind.table, seq);
  }
  return nested;
}

/**
 * Brings the entries of a log to what can be done one after another, each with the old image that is really stored then.
 *
 * AFTER triggers tell a change behind all that followed from it. So a change by a foreign key action, and by triggers
 * behind it, may be told in front of the change of the same row that caused it, and would find a row that nothing has made
 * yet. A mark (written in front of a change, with the row as it is stored) shows that: where it finds the very row that an
 * open change makes, or where a row comes to the place that an open change leaves, that one has happened, and is told first.
 *
 * An old image is what the transaction last left there: a BEFORE trigger may have changed the row meanwhile.
 */
export class RowChain {
  private readonly rows = new Map<string, Buffer>();
  private readonly open: OpenChange[] = [];

  constructor(
    private readonly nested: ReadonlyMap<number, number> = new Map(),
    private readonly entryAt?: (seq: number) => LogEntry | undefined,
  ) {}

  /** Takes a mark, and returns what has to be told now. */
  mark({ seq, kind, from, before, rivals = 0 }: LogEntry): LogEntry[] {
    const known = this.rows.get(rowKey(kind, from));
    const isKnown = before !== null && known?.equals(before) === true;
    // A row that is as it was shows nothing, unless it is the one that came to this place.
    const made = this.open.findLast(
      ({ entry, told, rivals: others }) =>
        !told && others === 0 && (!isKnown || entry.from !== entry.to) && makes(entry, kind, from, before),
    );
    const changes = made === undefined ? [] : this.tell(made);
    if (before !== null) this.rows.set(rowKey(kind, from), before);
    const end = this.nested.get(seq);
    const entry = end === undefined ? undefined : this.entryAt?.(end);
    if (entry !== undefined) this.open.push({ entry, told: false, rivals });
    return changes;
  }

  /** Takes a change, and returns what has to be told now. */
  change(entry: LogEntry): LogEntry[] {
    const open = this.open.at(-1);
    if (open?.entry.seq !== entry.seq) return this.write(entry);
    this.open.pop();
    return open.told ? [] : this.write(entry);
  }

  private tell(change: OpenChange): LogEntry[] {
    change.told = true;
    return this.write(change.entry);
  }

  private write(entry: LogEntry): LogEntry[] {
    const { kind, from, to, before, after } = entry;
    const changes = after === null ? [] : this.vacate(kind, to, after, from !== to);
    const old = before === null ? null : (this.rows.get(rowKey(kind, from)) ?? before);
    if (old !== null) this.removeRival(entry, old);
    if (before !== null) this.rows.delete(rowKey(kind, from));
    if (after !== null) this.rows.set(rowKey(kind, to), after);
    changes.push({ ...entry, before: old });
    return changes;
  }

  /** A row that an open change makes likewise is changed, or goes: it was there before. */
  private removeRival({ seq, kind, from }: LogEntry, old: Buffer): void {
    const change = this.open.findLast(
      ({ entry, told, rivals }) => !told && rivals > 0 && entry.seq !== seq && makes(entry, kind, from, old),
    );
    if (change !== undefined) change.rivals--;
  }

  /** What left the place, or a unique key, to which a row comes now. */
  private vacate(kind: LogKind, at: string | null, image: Buffer, comes: boolean): LogEntry[] {
    const leaves = ({ entry, told }: OpenChange): boolean => {
      if (told || entry.kind.table !== kind.table) return false;
      if (entry.from === at) return comes && entry.to !== at;
      const row = this.rows.get(rowKey(kind, entry.from)) ?? entry.before;
      return row !== null && leavesKey(kind.table, row, entry.after, image);
    };
    return this.open.flatMap((change) => (leaves(change) ? this.tell(change) : []));
  }
}

/** True where a row had a unique key that is another row's now. */
function leavesKey({ uniqueKeys }: TableInfo, row: Buffer, after: Buffer | null, other: Buffer): boolean {
  if (uniqueKeys.length === 0) return false;
  const [old, now, taken] = [row, after, other].map((image) => (image === null ? [] : splitValues(image)));
  return uniqueKeys.some((key) => {
    const isSame = key.every((index) => old?.[index] === taken?.[index] && old?.[index] !== 'null');
    return isSame && key.some((index) => old?.[index] !== now?.[index]);
  });
}

function makes(entry: LogEntry, kind: LogKind, at: string | null, image: Buffer | null): boolean {
  if (entry.kind.table !== kind.table || entry.to !== at || entry.after === null || image === null) return false;
  return entry.after.equals(image);
}

function rowKey({ table }: LogKind, at: string | null): string {
  return `${table.name}\0${at}`;
}
