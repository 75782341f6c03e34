import { createControlTables } from '../../lib/sqlite/control-tables.js';
import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { Applier } from '../../lib/apply/applier.js';
import { decodeChangeSet } from '../../lib/changeset/codec.js';
import { Interceptors } from '../../lib/apply/interceptors.js';
import type { HAInterceptor } from '../../lib/changeset/interceptor.js';
import type { ChangeSet } from '../../lib/changeset/changeset.js';
import type { RowIdentify } from '../../lib/sqlite/schema.js';
import type { MemoryLog, StoredMessage } from '../../lib/stream/memory/memory-log.js';
import type { HAConflict } from '../../lib/common/events.js';
import { ConflictOracle, placed } from './conflict-oracle.js';
import type { OutboxMessage } from '../../lib/sqlite/outbox-store.js';
import { dump } from './dump.js';
import { SUBJECT } from './sim-node.js';

/** A change that the fold left out, with the reason. */
export interface LeftOut {
  readonly sequence: number;
  readonly reason: string;
}

/**
 * The fold of the stream: a database that takes message 1, 2, 3 … one by one, each in a transaction of its own, each id
 * once, and does nothing else. What every node has to hold at a position is what it holds there.
 */
export class Oracle {
  readonly leftOut: LeftOut[] = [];
  /** Sequences of the transactions that interceptors changed, and which they were. */
  readonly intercepted: string[] = [];
  private readonly db: Database;
  private readonly applier: Applier;
  private readonly conflictOracle: ConflictOracle;
  private readonly seen = new Set<string>();
  private readonly chunks = new Map<string, ChangeSet[]>();
  private readonly dumps = new Map<number, string>();
  private position = 0;
  /** Of all messages up to the position. */
  private bytes = 0;

  constructor(
    private readonly log: () => MemoryLog,
    private readonly pragmas: readonly string[],
    private readonly rowIdentify: RowIdentify,
    private readonly interceptors: readonly HAInterceptor[] = [],
  ) {
    this.db = new BetterSqlite3(':memory:');
    for (const pragma of pragmas) this.db.pragma(pragma);
    this.db.pragma('foreign_keys = OFF');
    createControlTables(this.db);
    const facts = { node: 'oracle', replicationID: 'db' };
    const chain = interceptors.length === 0 ? undefined : new Interceptors(interceptors, facts);
    this.applier = new Applier(this.db, rowIdentify, undefined, chain);
    this.conflictOracle = new ConflictOracle(this.db);
  }

  /** The fold up to a position, as text. */
  at(sequence: number): string {
    const known = this.dumps.get(sequence);
    if (known !== undefined) return known;
    if (sequence < this.position) {
      const other = new Oracle(this.log, this.pragmas, this.rowIdentify, this.interceptors);
      const text = other.at(sequence);
      other.close();
      this.dumps.set(sequence, text);
      return text;
    }
    this.advance(sequence);
    const text = dump(this.db);
    this.dumps.set(sequence, text);
    return text;
  }

  /** Values of a single-column query on the fold up to a position. */
  columnAt(sequence: number, sql: string): unknown[] {
    const other = new Oracle(this.log, this.pragmas, this.rowIdentify);
    other.advance(sequence);
    const values = other.column(sql);
    other.close();
    return values;
  }

  /** The conflicts up to the position that was asked for last. */
  get conflicts(): readonly HAConflict[] {
    return this.conflictOracle.found;
  }

  /** True where nodes may have forgotten what the writer of a message had not seen. */
  isBeyond(sequence: number): boolean {
    return this.conflictOracle.isBeyond(sequence);
  }

  /** The fold up to a position, and what lies over it on a node: messages that are not in the stream yet. */
  over(sequence: number, messages: readonly OutboxMessage[]): string {
    if (messages.length === 0) return this.at(sequence);
    const other = new Oracle(this.log, this.pragmas, this.rowIdentify, this.interceptors);
    other.advance(sequence);
    messages.forEach((message, index) => {
      const place = { sequence: sequence + index + 1, subject: '', version: '1', time: '' };
      other.apply({ ...message, ...place, chunk: message.chunk ?? undefined });
    });
    const text = dump(other.db);
    other.close();
    return text;
  }

  /** Values of a single-column query on the fold. */
  column(sql: string): unknown[] {
    return this.db.prepare(sql).pluck().all();
  }

  close(): void {
    this.db.close();
  }

  private advance(to: number): void {
    while (this.position < to) {
      const message = this.log().at(++this.position);
      if (message === undefined) throw new Error(`The stream has no message ${this.position}.`);
      this.bytes += message.data.length;
      if (message.subject === SUBJECT) this.apply(message);
    }
  }

  private apply(message: StoredMessage): void {
    if (message.id !== undefined && this.seen.has(message.id)) return;
    if (message.id !== undefined) this.seen.add(message.id);
    const whole = this.assemble(message);
    if (whole === undefined) return;
    this.db.exec('BEGIN');
    this.applier.prepare();
    const by = placed(message, whole);
    this.conflictOracle.meet(by, this.bytes);
    const witness = this.conflictOracle.witness(by);
    const place = { sequence: message.sequence, foreign: message.version === undefined, witness };
    const steps = this.applier.apply(whole, place, (_index, _change, reason) =>
      this.leftOut.push({ sequence: message.sequence, reason }),
    );
    this.conflictOracle.following(() => {
      let step = steps.next();
      while (step.done !== true) step = steps.next();
      const names = step.value?.names ?? [];
      if (names.length > 0) this.intercepted.push(`${message.sequence} ${names.join(' ')}`);
    });
    this.db.exec('COMMIT');
  }

  private assemble(message: StoredMessage): ChangeSet | undefined {
    const last = decodeChangeSet(Buffer.from(message.data).toString('utf8'));
    if (message.chunk === undefined) return last;
    const [transaction = '', place = ''] = message.chunk.split(';');
    if (place === 'abort') {
      this.chunks.delete(transaction);
      return undefined;
    }
    const [part, parts] = place.split('/').map(Number);
    const before = this.chunks.get(transaction) ?? [];
    if (part !== parts) {
      this.chunks.set(transaction, [...before, last]);
      return undefined;
    }
    this.chunks.delete(transaction);
    if (before.length !== (parts ?? 0) - 1) return undefined;
    return { ...last, changes: [...before.flatMap((chunk) => chunk.changes), ...last.changes] };
  }
}
