import type { Observable } from 'rxjs';
import type { HAChange } from '../changeset/row-changes.js';
import type { HAEvent } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import type { Connections } from '../sqlite/connections.js';
import type { Position } from '../sqlite/position.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAMember } from '../stream/membership/member.js';
import type { Committer } from './committer.js';
import type { CrossPort, CrossQuery, HAAcross, HAAcrossOptions } from './cross-port.js';
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
  HistoryPort,
} from './history-port.js';
import { consistencyRefused, refuseHinted } from './hinted.js';
import type { HAOutcome, OutcomeFinder } from './outcome.js';
import { parseTransactionId } from './outcome.js';
import { withSequence } from './member.js';
import type { Member } from './member.js';
import { OpenTransaction } from './open-transaction.js';
import { Prepared } from './prepared.js';
import type { Reads } from './reads.js';
import type { ResultShape, StatementResult } from './result.js';
import { inShape } from './shapes.js';
import { runsAlone, scriptParts } from './script.js';
import { HASession, beginTransaction, resultAt, sessionLimits } from './session.js';
import type { HASessionOptions, SessionOrigin, WriteTicket } from './session.js';
import { currentSession, lastWritten, runInSession } from './session-context.js';
import type { SessionMemory } from './session-context.js';
import { isWrite, refuseControl, refuseUnfollowed } from './statement-info.js';
import type { StatementInfos } from './statement-info.js';
import type { StatementInfo } from '../sql/statement-info.js';
import type { HABackup, HALag, HAPosition, HASnapshot, HAStatus } from './status.js';
import { callersContext, refuseNested, runInContext } from './transaction-context.js';
import { UnmanagedTransaction } from './unmanaged-transaction.js';
import type { TransactionRunner } from './transaction-runner.js';
import { refuseVacuum } from './vacuum.js';
import { notLeader } from './write-router.js';
import type { RemoteWriter, Way, WriteRouter } from './write-router.js';

/** A database that is open: what the calls of {@link HADatabase} work with. */
export interface OpenDatabase {
  readonly connections: Connections;
  readonly committer: Committer;
  readonly runner: TransactionRunner;
  readonly reads: Reads;
  readonly infos: StatementInfos;
  /** Absent without replication. */
  readonly position: Position | undefined;
  /** Absent without replication. */
  readonly outcomes: OutcomeFinder | undefined;
  /** Absent where none is kept. */
  readonly history: HistoryPort | undefined;
  /** Absent where every node writes. */
  readonly router?: WriteRouter | undefined;
  /** Sequence of the last message that the stream holds; absent without replication. */
  readonly latest?: (() => Promise<number>) | undefined;
  readonly readOnly: boolean;
  /** It does not follow the stream. */
  readonly publishesOnly: boolean;
}

/** How {@link HADatabase.resync} goes about it. */
export interface ResyncOptions {
  /**
   * Where the rows come from: the `stream` from its beginning, the cluster's `snapshot`, or `this-node`: then all other
   * nodes take over the rows of this one. Default `stream`.
   */
  readonly from?: 'stream' | 'snapshot' | 'this-node';
  /** Applies the messages that {@link HADatabase.skip} had left out, now that they can be read. Default false. */
  readonly forgetSkips?: boolean;
}

/** Opens and closes the database; the wiring behind {@link HADatabase}. */
export interface DatabaseLifecycle {
  /** Whether a first call may start the database. */
  readonly autoStart: boolean;
  readonly transactionTimeout: number;
  /** Set by the database: is told of its writes that went to the leader. */
  noteWritten: (sequence: number) => void;
  /** How long a read waits for what it has to see, ms. */
  readonly readTimeout: number;
  readonly events: Observable<HAEvent>;
  readonly changes: Observable<HAChange>;
  /** Called with every use. */
  touch?(): void;
  /** Answers SELECTs from several databases; absent where there is no application that knows others. */
  readonly cross?: CrossPort | undefined;
  /** The database, while it is started. */
  readonly open: OpenDatabase | undefined;
  start(): Promise<OpenDatabase>;
  stop(): Promise<void>;
  close(): Promise<void>;
  status(): HAStatus;
  skip(sequence: bigint): Promise<void>;
  acknowledgeForeignWrite(): Promise<void>;
  resync(options?: ResyncOptions): Promise<void>;
  snapshot(options: { readonly replace?: boolean }): Promise<HASnapshot>;
  backup(path: string): Promise<HABackup>;
  lag(timeoutMs: number): Promise<HALag>;
  /** The nodes of the cluster; called while the database is started. */
  members(): Promise<HAMember[]>;
}

type ReadMethod = 'run' | 'get' | 'all';

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
  /** Sequence of the last write of this process. */
  private written = 0;

  constructor(private readonly lifecycle: DatabaseLifecycle) {
    this.events = lifecycle.events;
    this.changes = lifecycle.changes;
    lifecycle.noteWritten = (sequence) => this.noteWritten(sequence);
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
    return this.call('run', sql, params, PLAIN_SHAPE) as HARunResult | Promise<HARunResult>;
  }

  /**
   * @inheritdoc
   * @throws HAError `HA_WAIT_TIMEOUT` where this node does not get as far as `consistency` says within `grpcTimeout`.
   */
  async get<T = unknown>(sql: string, params?: HAParameters, options?: HAReadOptions): Promise<T | undefined> {
    return this.read('get', sql, params, options) as T | undefined | Promise<T | undefined>;
  }

  /** @inheritdoc */
  async all<T = unknown>(sql: string, params?: HAParameters, options?: HAReadOptions): Promise<T[]> {
    return this.read('all', sql, params, options) as T[] | Promise<T[]>;
  }

  /** Rows one by one, in one snapshot, from a connection of its own; with `consistency: 'leader'` all at once, from the leader. */
  iterate<T = unknown>(sql: string, params?: HAParameters, options?: HAReadOptions): AsyncIterableIterator<T> {
    return this.iterateShaped(sql, params, PLAIN_SHAPE, options) as AsyncIterableIterator<T>;
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
    return BigInt(lastWritten(this) ?? this.written);
  }

  /** Notes a write of this process that reads of a session have to see. @internal */
  noteWritten(sequence: number): void {
    this.noteStored(currentSession(), sequence);
  }

  /**
   * Runs a script as one transaction: all of it or nothing. BEGIN and COMMIT in it, as dumps have them, cut it into
   * several.
   */
  async exec(script: string): Promise<void> {
    refuseNested(this);
    const open = await this.opened();
    for (const { alone, statements } of scriptParts(script, open.infos)) {
      if (alone) await this.runAlone(open, 'run', statements[0] ?? '');
      else {
        const way = { here: () => this.enqueueScript(open, statements), there: execThere(statements) };
        await this.routed(open, way);
      }
    }
  }

  prepare<T = unknown>(sql: string): HAStatement<T> {
    return new Prepared<T>(sql, {
      call: (method, text, params, shape) => this.call(method, text, params, shape),
      iterate: (text, params, shape) => this.iterateShaped(text, params, shape),
    });
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
    const open = await this.opened();
    this.refuseReadOnly(open);
    if (options.serializable === true && open.publishesOnly) refuseUnfollowed('A serializable transaction');
    const key = fn.toString();
    if (open.router === undefined) return this.transactHere(open, fn, key, options);
    let hasRun = false;
    const once = (tx: HATransaction): R | Promise<R> => {
      hasRun = true;
      return fn(tx);
    };
    const timeout = options.timeout ?? this.lifecycle.transactionTimeout;
    const limits = { idleTimeout: timeout, timeout, serializable: options.serializable ?? false };
    return open.router.route({
      here: () => this.transactHere(open, once, key, options),
      there: (leader) => leader.transaction(this, once, options, limits),
      isRepeatable: () => !hasRun,
    });
  }

  private transactHere<R>(
    open: OpenDatabase,
    fn: (tx: HATransaction) => R | Promise<R>,
    key: string,
    options: HATransactionOptions,
  ): Promise<R> {
    const asCaller = callersContext();
    return new Promise<R>((resolve, reject) => {
      let tx: OpenTransaction | undefined;
      this.enqueue(open, {
        key,
        serializable: options.serializable ?? false,
        isCallback: true,
        retry: options.retry ?? true,
        timeout: options.timeout ?? this.lifecycle.transactionTimeout,
        enqueuedAt: performance.now(),
        run: (attempt) => {
          const current = new OpenTransaction(this, open.connections.writer, open.runner, attempt);
          tx = current;
          return asCaller(() => runInContext(current, () => complete(current, fn)));
        },
        abandon: () => tx?.end(),
        resolve: (value) => resolve(value as R),
        reject,
      });
    });
  }

  /**
   * @inheritdoc
   * @throws SqliteError `SQLITE_BUSY` with `retryable: true` where others came first, again and again.
   */
  async execute<T = unknown>(sql: string, params?: HAParameters, options?: HAExecuteOptions): Promise<HAResult<T>> {
    refuseNested(this);
    const open = await this.opened();
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
  async begin(options: HASessionOptions & { readonly serializable?: boolean } = {}): Promise<HAUnmanagedTransaction> {
    refuseNested(this);
    const open = await this.opened();
    const { transactionTimeout } = this.lifecycle;
    const limits = { ...sessionLimits(options, transactionTimeout), serializable: options.serializable ?? false };
    const host = { owner: this, isForwarded: false, refuseReadOnly: (it: OpenDatabase) => this.refuseReadOnly(it) };
    const written = (sequence: number | undefined): void =>
      this.noteStored(currentSession(), sequence ?? this.lifecycle.open?.position?.received);
    return new UnmanagedTransaction(this, await beginTransaction(host, open, limits), written, open.router);
  }

  /**
   * A session, whose statements may be BEGIN, COMMIT, ROLLBACK and savepoints: what query builders and remote callers need.
   * In code of your own {@link transaction} is better: it can run again where others came first. Close it in the end.
   */
  connect(options: HASessionOptions = {}): HASession {
    return this.connectFrom(options, {});
  }

  /** A session of a caller of another kind. @internal */
  connectFrom(options: HASessionOptions, { isForwarded = false }: SessionOrigin): HASession {
    const host = {
      owner: this,
      transactionTimeout: this.lifecycle.transactionTimeout,
      isForwarded,
      opened: () => {
        refuseNested(this);
        return this.opened();
      },
      refuseReadOnly: (open: OpenDatabase) => this.refuseReadOnly(open),
      across: (sql: string, info: StatementInfo) => this.across(sql, info),
      noteWritten: (sequence: number | undefined) =>
        this.noteStored(currentSession(), sequence ?? this.lifecycle.open?.position?.received),
      write: (
        open: OpenDatabase,
        statements: readonly string[],
        params: HAParameters | undefined,
        shape: ResultShape,
        ticket: WriteTicket | undefined,
      ) => {
        if (!isForwarded) return this.writeAll(open, statements, params, shape, ticket);
        open.router?.refuseUnlessLeader();
        this.refuseReadOnly(open);
        return this.writeAllHere(open, statements, params, shape, ticket);
      },
      runAlone: async (open: OpenDatabase, sql: string) => (await this.runAlone(open, 'all', sql)) as unknown[],
    };
    return new HASession(host, options);
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
    await this.opened();
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
    const open = await this.opened();
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
    const { outcomes } = await this.opened();
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
    yield* this.pastOf(await this.opened()).history(from, options);
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
    const open = await this.opened();
    this.refuseReadOnly(open);
    if (open.router?.isLocal === false && options.dryRun !== true) throw notLeader();
    const result = await this.pastOf(open).undo(options);
    if (result.sequence !== undefined) this.noteWritten(Number(result.sequence));
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
    return this.pastOf(await this.opened()).restoreTo(point, path);
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
    await this.opened();
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
    if ((options.from ?? 'stream') === 'stream') await this.opened();
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
    await this.opened();
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
    await this.opened();
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
    await this.opened();
    return this.lifecycle.members();
  }

  private pastOf({ history }: OpenDatabase): HistoryPort {
    if (history !== undefined) return history;
    throw new HAError(
      'HA_UNAVAILABLE',
      'This database keeps no history: it has no stream. Set replicationURL or embedded NATS, or streamMaxAge, with which a standalone database keeps one of its own.',
    );
  }

  private opened(): OpenDatabase | Promise<OpenDatabase> {
    const { open } = this.lifecycle;
    this.lifecycle.touch?.();
    if (open !== undefined) return open;
    if (!this.lifecycle.autoStart && this.lifecycle.status().state !== 'starting') throw notStarted();
    return this.lifecycle.start();
  }

  /** A read answers at once, without a promise in between: point reads cost little more than SQLite itself. */
  private call(method: ReadMethod, sql: string, params: HAParameters | undefined, shape: RowShape): unknown {
    refuseNested(this);
    const { open } = this.lifecycle;
    this.lifecycle.touch?.();
    return open === undefined
      ? this.callLater(method, sql, params, shape)
      : this.callOpen(open, method, sql, params, shape);
  }

  private async callLater(
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): Promise<unknown> {
    return this.callOpen(await this.opened(), method, sql, params, shape);
  }

  private read(
    method: 'get' | 'all',
    sql: string,
    params: HAParameters | undefined,
    options: HAReadOptions | undefined,
  ): unknown {
    const { consistency = 'local' } = options ?? {};
    if (consistency === 'local') return this.call(method, sql, params, PLAIN_SHAPE);
    return this.readConsistently(consistency, method, sql, params);
  }

  private async readConsistently(
    consistency: 'session' | 'leader',
    method: 'get' | 'all',
    sql: string,
    params: HAParameters | undefined,
  ): Promise<unknown> {
    refuseNested(this);
    const open = await this.opened();
    const here = async (): Promise<unknown> => this.callOpen(open, method, sql, params, PLAIN_SHAPE);
    const info = open.infos.of(sql);
    if (isWrite(info)) return here();
    if (this.across(sql, info) !== undefined) throw consistencyRefused(consistency);
    if (consistency === 'leader' && open.router !== undefined) {
      return open.router.route({ here, there: (leader) => leader.read(method, sql, params, PLAIN_SHAPE) });
    }
    await this.catchUp(open, consistency);
    return here();
  }

  /** Waits until this node has what a read has to see. */
  private async catchUp(open: OpenDatabase, consistency: 'session' | 'leader'): Promise<void> {
    if (open.position === undefined) return;
    const sequence = consistency === 'leader' ? ((await open.latest?.()) ?? 0) : Number(this.lastWrite());
    await open.position.waitFor(sequence, { timeout: this.lifecycle.readTimeout });
  }

  private callOpen(
    open: OpenDatabase,
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): unknown {
    const info = open.infos.of(sql);
    if (!isWrite(info)) {
      const across = this.across(sql, info);
      return across === undefined
        ? open.reads.call(method, sql, params, shape)
        : callAcross(across, method, params, shape);
    }
    if (runsAlone(sql, open.infos)) return this.runAlone(open, method, sql);
    return this.write(open, method, sql, params, shape);
  }

  /** The databases that answer a read instead of this one. */
  private across(sql: string, info: StatementInfo): CrossQuery | undefined {
    const { cross } = this.lifecycle;
    if (info.hinted !== true && cross?.routesAll !== true) return undefined;
    if (cross !== undefined && info.kind === 'select') return cross.route(sql);
    refuseHinted(sql, info, 'this is no SELECT, or there is no application that knows other databases');
    return undefined;
  }

  private write(
    open: OpenDatabase,
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): Promise<unknown> {
    this.refuseReadOnly(open);
    const here = (): Promise<unknown> => this.writeHere(open, method, sql, params, shape);
    if (open.router === undefined) return here();
    return open.router.route({ here, there: (leader) => leader.call(method, sql, params, shape) });
  }

  private writeHere(
    open: OpenDatabase,
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.enqueue(open, {
        ...this.statementMember(sql, reject),
        run: () => open.runner.call(method, sql, params, shape),
        resolve: (value, sequence) => resolve(method === 'run' ? withSequence(value, sequence) : value),
      });
    });
  }

  private writeAll(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    shape: ResultShape,
    ticket?: WriteTicket,
  ): Promise<StatementResult> {
    this.refuseReadOnly(open);
    const there = async (leader: RemoteWriter): Promise<StatementResult> =>
      inShape(await leader.writeAll(statements, params, ticket?.foreignKeys), shape);
    return this.routed(open, { here: () => this.writeAllHere(open, statements, params, shape, ticket), there });
  }

  private writeAllHere(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    shape: ResultShape,
    ticket: WriteTicket | undefined,
  ): Promise<StatementResult> {
    const method = ticket?.wantsRows === true ? 'rows' : 'result';
    return new Promise((resolve, reject) => {
      this.enqueue(open, {
        ...this.statementMember(statements.join(';'), reject),
        transactionId: ticket && (() => ticket.id),
        foreignKeys: ticket?.foreignKeys,
        run: () => statements.map((sql) => open.runner.call(method, sql, params, shape)).at(-1),
        resolve: (value, sequence) => resolve(resultAt(value as StatementResult, sequence)),
      });
    });
  }

  /** Runs a write where the leader is, if there is one. */
  private routed<R>({ router }: OpenDatabase, way: Way<R>): Promise<R> {
    return router === undefined ? way.here() : router.route(way);
  }

  private enqueueScript(open: OpenDatabase, statements: readonly string[]): Promise<void> {
    this.refuseReadOnly(open);
    return new Promise((resolve, reject) => {
      this.enqueue(open, {
        ...this.statementMember(statements.join(';'), reject),
        run: () => {
          for (const sql of statements) open.runner.call('exec', sql);
        },
        resolve: () => resolve(),
      });
    });
  }

  /**
   * Has a transaction wait for its turn, and its place noted for the session that it belongs to: it is answered in the course of
   * another. What wrote nothing leads to where the database stands: a request that found its work done has seen that.
   */
  private enqueue(open: OpenDatabase, member: Member): void {
    const session = currentSession();
    open.committer.enqueue({
      ...member,
      resolve: (value, sequence) => {
        this.noteStored(session, sequence ?? open.position?.received);
        member.resolve(value, sequence);
      },
    });
  }

  private noteStored(session: SessionMemory | undefined, sequence: number | undefined): void {
    if (sequence === undefined) return;
    this.written = Math.max(sequence, this.written);
    session?.note(this, sequence);
  }

  private statementMember(key: string, reject: (error: unknown) => void): Omit<Member, 'run' | 'resolve'> {
    return {
      key,
      serializable: false,
      isCallback: false,
      retry: true,
      timeout: 0,
      enqueuedAt: performance.now(),
      abandon: () => undefined,
      reject,
    };
  }

  /** VACUUM and checkpoints: SQLite refuses them inside a transaction. */
  private async runAlone(open: OpenDatabase, method: ReadMethod, sql: string): Promise<unknown> {
    return open.committer.exclusive((db) => {
      if (open.position !== undefined) refuseVacuum(db, open.infos.of(sql));
      const statement = db.prepare(sql);
      const rows = statement.reader ? statement.all() : (statement.run(), []);
      if (method === 'run') return { changes: 0, lastInsertRowid: 0 };
      return method === 'get' ? rows[0] : rows;
    });
  }

  private async *iterateShaped(
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
    { consistency = 'local' }: HAReadOptions = {},
  ): AsyncIterableIterator<unknown> {
    refuseNested(this);
    const open = this.lifecycle.open ?? (await this.opened());
    const info = open.infos.of(sql);
    const across = isWrite(info) ? undefined : this.across(sql, info);
    if (across !== undefined) {
      if (consistency !== 'local') throw consistencyRefused(consistency);
      yield* across.iterate(params, shape);
      return;
    }
    if (consistency === 'leader' && open.router?.isLocal === false) {
      yield* (await this.readConsistently(consistency, 'all', sql, params)) as unknown[];
      return;
    }
    if (consistency !== 'local') await this.catchUp(open, consistency);
    if (isWrite(info)) yield* (await this.write(open, 'all', sql, params, shape)) as unknown[];
    else yield* open.reads.iterate(sql, params, shape);
  }

  private refuseReadOnly(open: OpenDatabase): void {
    if (!open.readOnly) return;
    throw new HAError(
      'HA_READ_ONLY',
      'This node is a read replica (disablePublisher): it does not write. Send the write to another node.',
    );
  }
}

function execThere(statements: readonly string[]): Way<void>['there'] {
  return (leader) => leader.exec(statements);
}

function notStarted(): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    'The database is not started. Await db.start() first, or leave autoStart on; after close() it stays closed.',
  );
}

async function callAcross(
  across: CrossQuery,
  method: ReadMethod,
  params: HAParameters | undefined,
  shape: RowShape,
): Promise<unknown> {
  // What better-sqlite3 says of a statement in one database.
  if (method === 'run') throw new TypeError('This statement returns data. Use get(), all(), or iterate() instead');
  const rows: unknown[] = [];
  for await (const row of across.iterate(params, shape)) {
    if (method === 'get') return row;
    rows.push(row);
  }
  return method === 'get' ? undefined : rows;
}

/** Runs a callback; fails where the transaction is broken, even if the callback swallowed that. */
function complete<R>(tx: OpenTransaction, fn: (tx: HATransaction) => R | Promise<R>): R | Promise<R> {
  const result = fn(tx);
  if (!(result instanceof Promise)) return result;
  return result.then((value) => {
    if (tx.overlap !== undefined) throw tx.overlap;
    return value;
  });
}
