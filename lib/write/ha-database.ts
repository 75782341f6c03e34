import type { Observable } from 'rxjs';
import type { HAChange } from '../changeset/row-changes.js';
import type { HAEvent } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import type { HAMember } from '../stream/membership/member.js';
import type { HAAcross, HAAcrossOptions } from './cross-port.js';
import { notStarted, opened } from './database-lifecycle.js';
import type { DatabaseLifecycle, ResyncOptions } from './database-lifecycle.js';
import { PLAIN_SHAPE } from './executor.js';
import type {
  HAExecuteOptions,
  HAExecutor,
  HAParameters,
  HAReadOptions,
  HAResult,
  HARunResult,
  HAStatement,
  HATransaction,
  HATransactionOptions,
  HAUnmanagedTransaction,
} from './executor.js';
import type {
  HAHistoryOptions,
  HAHistoryStart,
  HAHistoryTransaction,
  HARestored,
  HAUndoOptions,
  HAUndoResult,
} from './history-port.js';
import { LocalWrites } from './local-writes.js';
import { historyOf, refuseReadOnly } from './open-database.js';
import { parseTransactionId } from './outcome.js';
import type { HAOutcome } from './outcome.js';
import { Prepared } from './prepared.js';
import { scriptParts } from './script.js';
import type { HASession, HASessionOptions, SessionOrigin } from './session.js';
import { SessionCalls } from './session-calls.js';
import { runInSession } from './session-context.js';
import { StatementCalls } from './statement-calls.js';
import { refuseControl } from './statement-info.js';
import type { HABackup, HALag, HAPosition, HASnapshot, HAStatus } from './status.js';
import { refuseNested } from './transaction-context.js';
import { WriteCalls } from './write-calls.js';
import { WriteMemory } from './write-memory.js';
import { notLeader } from './write-router.js';

/**
 * The SQLite database of this node, replicated to all others.
 *
 * Reads see the local copy and never wait. Writes of all callers go through one queue; a call resolves when its
 * transaction is in the stream and committed here. SQLite's own failures surface as better-sqlite3's `SqliteError`;
 * everything else is an {@link HAError} with a code.
 */
export class HADatabase implements HAExecutor {
  /** What happens to the database; never fails. */
  readonly events: Observable<HAEvent>;
  /**
   * Every row that the stream changes on this node, in its order, own writes included; never fails. From the moment of the
   * subscription, at most once: what it does must not matter beyond this process. Nothing comes without a stream.
   */
  readonly changes: Observable<HAChange>;
  private readonly memory: WriteMemory;
  private readonly writes: WriteCalls;
  private readonly statements: StatementCalls;
  private readonly sessions: SessionCalls;

  constructor(private readonly lifecycle: DatabaseLifecycle) {
    this.events = lifecycle.events;
    this.changes = lifecycle.changes;
    this.memory = new WriteMemory(this);
    this.writes = new WriteCalls(this, new LocalWrites(this, this.memory), lifecycle);
    this.statements = new StatementCalls(this, lifecycle, this.writes, this.memory);
    this.sessions = new SessionCalls(this, lifecycle, this.writes, this.memory);
    lifecycle.noteWritten = (sequence) => this.memory.note(sequence);
  }

  /** Whether this is the database that a lifecycle opens. @internal */
  isOpenedBy(lifecycle: DatabaseLifecycle): boolean {
    return this.lifecycle === lifecycle;
  }

  /**
   * A read-only connection of better-sqlite3, for synchronous reads of the local copy. Fetch it anew behind {@link stop},
   * {@link skip} and {@link resync}: they close it.
   *
   * @throws HAError `HA_UNAVAILABLE` before the database is started.
   */
  get reader(): Connection {
    const { open } = this.lifecycle;
    if (open === undefined) throw notStarted();
    return open.connections.outsideReader;
  }

  /** @inheritdoc */
  async run(sql: string, params?: HAParameters): Promise<HARunResult> {
    return this.statements.call('run', sql, params, PLAIN_SHAPE) as HARunResult | Promise<HARunResult>;
  }

  /**
   * @inheritdoc
   * @throws HAError `HA_WAIT_TIMEOUT` where this node does not get as far as `consistency` says within `grpcTimeout`.
   */
  async get<T = unknown>(sql: string, params?: HAParameters, options?: HAReadOptions): Promise<T | undefined> {
    return this.statements.read('get', sql, params, options) as T | undefined | Promise<T | undefined>;
  }

  /** @inheritdoc */
  async all<T = unknown>(sql: string, params?: HAParameters, options?: HAReadOptions): Promise<T[]> {
    return this.statements.read('all', sql, params, options) as T[] | Promise<T[]>;
  }

  /** Rows one by one, in one snapshot, from a connection of its own; with `consistency: 'leader'` all at once, from the leader. */
  iterate<T = unknown>(sql: string, params?: HAParameters, options?: HAReadOptions): AsyncIterableIterator<T> {
    return this.statements.iterate(sql, params, PLAIN_SHAPE, options) as AsyncIterableIterator<T>;
  }

  /**
   * Runs something whose reads with `consistency: 'session'` see what it has written itself, and everything up to `after`: a
   * request, say, whose caller brings the sequence of its last write.
   *
   * @example await db.withSession(async () => { … }, { after: txseq })
   */
  withSession<R>(fn: () => R, { after = 0n }: { after?: bigint } = {}): R {
    return runInSession(this, Number(after), fn);
  }

  /** Sequence of the last write in the same {@link withSession}, or else of this process; 0 where there is none. */
  lastWrite(): bigint {
    return BigInt(this.memory.last());
  }

  /**
   * Runs a script as one transaction: all of it or nothing. BEGIN and COMMIT in it, as dumps have them, cut it into
   * several.
   */
  async exec(script: string): Promise<void> {
    refuseNested(this);
    const opening = opened(this.lifecycle);
    const open = opening instanceof Promise ? await opening : opening;
    for (const part of scriptParts(script, open.infos)) await this.writes.scriptPart(open, part);
  }

  prepare<T = unknown>(sql: string): HAStatement<T> {
    return new Prepared<T>(sql, this.statements);
  }

  /**
   * Runs a callback as one transaction: what it does through `tx` is committed together, or not at all where it throws.
   * Writes of all callers wait for it, so it should not wait for anything else. Where it generates ids, changes the
   * schema or asks for `serializable`, it may run more than once (`tx.attempt`).
   *
   * @throws HAError `HA_TRANSACTION_TIMEOUT` after `timeout` ms, `HA_CONFLICT` where it may not run again, and whatever
   * the callback throws.
   */
  async transaction<R>(fn: (tx: HATransaction) => R | Promise<R>, options: HATransactionOptions = {}): Promise<R> {
    refuseNested(this);
    const opening = opened(this.lifecycle);
    // At once where it is open: writes have their turns in the order of their calls.
    return this.writes.transaction(opening instanceof Promise ? await opening : opening, fn, options);
  }

  /**
   * @inheritdoc
   * @throws SqliteError `SQLITE_BUSY` with `retryable: true` where others came first, again and again.
   */
  async execute<T = unknown>(sql: string, params?: HAParameters, options?: HAExecuteOptions): Promise<HAResult<T>> {
    refuseNested(this);
    const opening = opened(this.lifecycle);
    const open = opening instanceof Promise ? await opening : opening;
    refuseControl(open.infos.of(sql));
    return this.connect(options).execute<T>(sql, params);
  }

  /**
   * Begins a transaction that holds the write turn until its user ends it with `commit` or `rollback`, in whatever part of the
   * program. All other writes wait for it: where nothing comes for `idleTimeout`, or it takes longer than `timeout`, it is rolled
   * back. {@link transaction} is better wherever a callback will do: it ends by itself, and can run again.
   *
   * @throws HAError `HA_READ_ONLY`, `HA_LEADER_UNKNOWN`.
   */
  begin(options: HASessionOptions & { readonly serializable?: boolean } = {}): Promise<HAUnmanagedTransaction> {
    return this.sessions.begin(options);
  }

  /**
   * A session, whose statements may be BEGIN, COMMIT, ROLLBACK and savepoints: what query builders and remote callers need.
   * In code of your own {@link transaction} is better: it can run again where others came first. Close it in the end.
   */
  connect(options: HASessionOptions = {}): HASession {
    return this.sessions.connect(options, {});
  }

  /** A session of a caller of another kind. @internal */
  connectFrom(options: HASessionOptions, origin: SessionOrigin): HASession {
    return this.sessions.connect(options, origin);
  }

  /**
   * Answers a SELECT from several databases of this application as if they were one, and says which were asked. `partial: true`
   * leaves out those that cannot be read, and lists them. A hint in the SELECT, `/*+ db=tenant-.* *\/`, does the same with
   * {@link all}, {@link get} and {@link iterate}.
   *
   * @throws HAError `HA_CROSS_DATABASE_REFUSED` where the answer would not be that of one database, or is not allowed
   * (`allowCrossDatabase`), `HA_CROSS_DATABASE_FAILED` where a database cannot be read.
   */
  async acrossDatabases<T = unknown>(
    sql: string,
    params?: HAParameters,
    options: HAAcrossOptions = {},
  ): Promise<HAAcross<T>> {
    refuseNested(this);
    await opened(this.lifecycle);
    const { cross } = this.lifecycle;
    if (cross !== undefined) return (await cross.across(sql, params, options)) as HAAcross<T>;
    throw new HAError(
      'HA_CROSS_DATABASE_REFUSED',
      'This database was not registered by HAModule, so it knows no others. Register it with HAModule.forRoot.',
    );
  }

  /** Where this node stands in the stream. */
  position(): HAPosition {
    return this.lifecycle.status().position;
  }

  /**
   * Resolves once everything up to a stream sequence is applied here. Without replication it resolves at once.
   *
   * @throws HAError `HA_WAIT_TIMEOUT` after `timeout` ms; the signal's reason where that is aborted.
   */
  async waitFor(sequence: bigint, options: { timeout?: number; signal?: AbortSignal } = {}): Promise<void> {
    const open = await opened(this.lifecycle);
    await open.position?.waitFor(Number(sequence), options);
  }

  /**
   * What became of a transaction that got no answer: `id` is `details.id` of its `HA_PUBLISH_UNKNOWN`. On the node that wrote
   * it, also behind a restart, the answer is settled where nobody knows it: what is `not_committed` then never will be. Other
   * nodes answer `unknown` unless they have applied it. `unknown` too where the stream does not answer within
   * `publisherTimeout`, and where the subscriber or publisher of this node is disabled: ask again, or elsewhere.
   *
   * @throws HAError `HA_INVALID_ID` where it is no such id.
   */
  async outcome(id: string): Promise<HAOutcome> {
    refuseNested(this);
    parseTransactionId(id);
    const { outcomes } = await opened(this.lifecycle);
    return outcomes === undefined ? { state: 'unknown' } : outcomes.find(id);
  }

  /**
   * The transactions of the past in the order of the stream, from a sequence or a time on; without `from` all that are kept. It
   * ends at what the stream holds when it is called. Memory stays flat, however many there are.
   *
   * @example for await (const { sequence, node, sql } of db.history('1h', { table: 'orders' })) …
   * @throws HAError `HA_HISTORY_GONE` where what is kept begins later, `HA_HISTORY_INVALID` where `from` is no transaction of
   * this database, no duration, or a malformed one.
   */
  async *history(from?: HAHistoryStart, options: HAHistoryOptions = {}): AsyncIterableIterator<HAHistoryTransaction> {
    refuseNested(this);
    yield* historyOf(await opened(this.lifecycle)).history(from, options);
  }

  /**
   * Takes a part of the past back, as one ordinary transaction: every node applies it, history shows it, and it can be undone
   * itself. It is compared with the rows as they are right in front of its place in the stream, so nobody comes between. Rows
   * that are what they were already are left alone; AUTOINCREMENT counters stay. Its triggers and foreign key actions are rows
   * of the history like others, and do not fire again.
   *
   * @throws HAError `HA_UNDO_CONFLICT` where others changed a row since (`details.conflicts`), `HA_UNDO_REFUSED` for changes of
   * the schema, `HA_UNDO_INVALID` where nothing is selected, and what {@link history} throws. Then nothing is changed.
   */
  async undo(options: HAUndoOptions): Promise<HAUndoResult> {
    refuseNested(this);
    const open = await opened(this.lifecycle);
    refuseReadOnly(open);
    if (open.router?.isLocal === false && options.dryRun !== true) throw notLeader();
    const result = await historyOf(open).undo(options);
    if (result.sequence !== undefined) this.memory.note(Number(result.sequence));
    return result;
  }

  /**
   * Writes a copy of the database as it was behind a transaction, or at a time, into a new file; this one goes on untouched. The
   * copy holds the rows of the user alone, and belongs to no cluster.
   *
   * @throws HAError `HA_HISTORY_GONE` where too little is kept to build it, `HA_HISTORY_INVALID` where the file exists.
   */
  async restoreTo(point: bigint | Date, path: string): Promise<HARestored> {
    refuseNested(this);
    return historyOf(await opened(this.lifecycle)).restoreTo(point, path);
  }

  /**
   * Goes on without the message at which applying has halted (`HA_APPLY_HALTED`, `details.sequence`), where that cannot be
   * read: the rows of this node then lack it. All other nodes halt at the same message, and need the same call, or they hold
   * other rows: as long as `status().skipped` names a message, this node may differ from others. Of a transaction in several messages all are left out. The message is kept in
   * `ha_skipped`. The database is started anew on the way: writes that wait fail with `HA_UNAVAILABLE`, or with what halted,
   * and {@link reader} has to be fetched anew.
   *
   * @throws HAError `HA_SKIP_INVALID` where applying has not halted at exactly that message, and where the message can be
   * read but this node cannot apply it, for a function that it lacks or the like: mend that, and start the node again.
   */
  async skip(sequence: bigint): Promise<void> {
    refuseNested(this);
    await this.lifecycle.skip(sequence);
  }

  /**
   * Ends the alarm that something else wrote to the file (`status().foreignWrite`): that was meant, or has been mended. The
   * next such write raises it again.
   */
  async acknowledgeForeignWrite(): Promise<void> {
    refuseNested(this);
    await opened(this.lifecycle);
    await this.lifecycle.acknowledgeForeignWrite();
  }

  /**
   * Builds the file anew: from the stream, from the snapshot of the cluster, or makes the rows of this node those of all.
   * The old file is kept beside it as `<file>.before-resync-<time, UTC>`, except with `this-node`. The database is stopped
   * meanwhile: writes that wait fail with `HA_UNAVAILABLE`, calls that come later wait, and {@link reader} has to be fetched
   * anew behind it. Where the process dies on the way, the next start puts the old file back. Messages that {@link skip} had
   * left out stay left out with `from: 'stream'`, unless `forgetSkips` is set.
   *
   * `this-node`: what other nodes wrote and this one lacks is gone behind it. Other nodes take over the rows by themselves,
   * also those that come later; go-ha's nodes do not.
   *
   * @throws HAError `HA_STREAM_GAP` where the stream no longer holds its beginning, `HA_SNAPSHOT_FAILED` where there is no
   * snapshot, and whatever else keeps the database from starting: then the old file is back in its place, and the database
   * runs on it. `HA_UNAVAILABLE` without a stream.
   */
  async resync(options: ResyncOptions = {}): Promise<void> {
    refuseNested(this);
    // The other two are ways out also where the database does not start.
    if ((options.from ?? 'stream') === 'stream') await opened(this.lifecycle);
    await this.lifecycle.resync(options);
  }

  /**
   * Stores a snapshot now, from which new nodes start, unless the store has one that is as new. `replace` replaces also that
   * one. By itself this happens every `snapshotInterval` when something has changed.
   *
   * @throws HAError `HA_UNAVAILABLE` without a stream, `HA_SNAPSHOT_STORE` where the server has no room or does not permit
   * it, `HA_SNAPSHOT_FAILED` where the disk has none, `HA_STREAM_CONNECT` where NATS does not answer.
   */
  async snapshot(options: { readonly replace?: boolean } = {}): Promise<HASnapshot> {
    refuseNested(this);
    await opened(this.lifecycle);
    return this.lifecycle.snapshot(options);
  }

  /**
   * Copies the database, as of now, to a file that appears in one step; one of that name is replaced. Reads and writes go on.
   * A node can be started on the copy: it then applies what the stream has brought since.
   *
   * @throws HAError `HA_SNAPSHOT_FAILED` where the copy cannot be written.
   */
  async backup(path: string): Promise<HABackup> {
    refuseNested(this);
    await opened(this.lifecycle);
    return this.lifecycle.backup(path);
  }

  /** Opens the file, connects, and resolves when everything that the stream held is applied here. Idempotent. */
  async start(): Promise<void> {
    await this.lifecycle.start();
  }

  /** Finishes the writes that wait, and stops following the stream. {@link start} goes on where it stopped. */
  async stop(): Promise<void> {
    await this.lifecycle.stop();
  }

  /** Stops, and closes the file for good. */
  async close(): Promise<void> {
    await this.lifecycle.close();
  }

  status(): HAStatus {
    return this.lifecycle.status();
  }

  /** Asks the stream how far this node is behind, and waits for its answer, at most `timeout` ms. Never fails. */
  lag({ timeout = 1_000 }: { timeout?: number } = {}): Promise<HALag> {
    return this.lifecycle.lag(timeout);
  }

  /**
   * The nodes of the cluster that were heard of in the last 30 seconds, this one among them, by name. Only this one where
   * it is standalone, or where the NATS account permits no key-value buckets.
   *
   * @throws HAError `HA_STREAM_CONNECT` (retryable) where NATS does not answer.
   */
  async members(): Promise<HAMember[]> {
    await opened(this.lifecycle);
    return this.lifecycle.members();
  }
}
