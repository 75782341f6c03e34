import { HAError } from '../common/ha-error.js';
import { sleep } from '../common/timing.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAParameters, HATransaction, HATransactionOptions } from './executor.js';
import type { ExactResult, ResultShape, RowCursor, StatementResult } from './result.js';

/** How long a forwarded transaction may be idle, and take, ms; and what else its session asks for. */
export interface RemoteLimits {
  readonly idleTimeout: number;
  readonly timeout: number;
  /** Nobody may write in between. */
  readonly serializable: boolean;
  /** Whether foreign keys are enforced in it. Default: as by the leader. */
  readonly foreignKeys?: boolean | undefined;
}

/** An open transaction as code steers it. */
export interface TransactionCalls extends HATransaction {
  /** Why it can no longer be committed. */
  readonly overlap: HAError | undefined;
}

/** A transaction whose statements come one by one, here or at the leader. */
export interface SessionTransaction {
  /** True while statements are taken. */
  readonly isOpen: boolean;
  /** @param wantsRows Refuses a statement that gives none. */
  execute(
    sql: string,
    params: HAParameters | undefined,
    shape: ResultShape,
    wantsRows?: boolean,
  ): StatementResult | Promise<StatementResult>;
  /** The same transaction as calls of its own, for code that steers it without statements. */
  calls(owner: object): TransactionCalls;
  read(sql: string, params: HAParameters | undefined): RowCursor | Promise<RowCursor>;
  savepoint(name: string): void | Promise<void>;
  rollbackTo(name: string): void | Promise<void>;
  /** Resolves with true where it was the outermost savepoint. */
  release(name: string): boolean | Promise<boolean>;
  /** @param id What the transaction is to be called, where another node has given it a name. */
  commit(id?: string): Promise<number | undefined>;
  rollback(): Promise<void>;
}

/** The same at the leader. */
export interface RemoteSteps extends SessionTransaction {
  /** Resolves when it has ended, and the leader has answered that. */
  readonly over: Promise<void>;
}

/** How a statement is called: `run` gives no rows. */
export type ReadMethod = 'run' | 'get' | 'all';

/**
 * Runs writes at the leader, with the results that they would have here. Each resolves when this node has applied what it
 * wrote. A call whose answer is lost ends as what became of it: nothing is done twice.
 *
 * All throw a retryable `HA_NOT_LEADER` where nothing was done, for that node leads no more or cannot be reached.
 */
export interface RemoteWriter {
  call(method: ReadMethod, sql: string, params: HAParameters | undefined, shape: RowShape): Promise<unknown>;
  /** A read, of what the leader has. */
  read(method: ReadMethod, sql: string, params: HAParameters | undefined, shape: RowShape): Promise<unknown>;
  /** @param foreignKeys Whether foreign keys are enforced. Default: as by the leader. */
  writeAll(
    statements: readonly string[],
    params: HAParameters | undefined,
    foreignKeys?: boolean,
  ): Promise<ExactResult>;
  exec(statements: readonly string[]): Promise<void>;
  transaction<R>(
    owner: object,
    fn: (tx: HATransaction) => R | Promise<R>,
    options: HATransactionOptions,
    limits: RemoteLimits,
  ): Promise<R>;
  begin(limits: RemoteLimits): Promise<RemoteSteps>;
}

/** What the router knows of the leader. */
export interface LeaderPort {
  isLeader(): boolean;
  /** Whoever is named as the leader stays it. */
  readonly isStatic: boolean;
  /** Resolves when a leader is known. @throws HAError `HA_LEADER_UNKNOWN`. */
  known(timeoutMs: number, signal: AbortSignal): Promise<{ readonly isLeader: boolean }>;
  /** What reaches the leader that is known now. @throws HAError where it has no address for that. */
  writer(): Promise<RemoteWriter>;
  /** The one that is known does not answer as a leader. */
  look(): void;
  unknown(timeoutMs: number, cause: unknown): HAError;
}

/** A write, and how it runs. */
export interface Way<R> {
  here(): Promise<R>;
  there(leader: RemoteWriter): Promise<R>;
  /** False once code of the user has run, which may not run again. */
  readonly isRepeatable?: () => boolean;
}

const PAUSE_MS = 20;

/** Sends writes to the leader of the cluster, whoever that is; there is none in a database without a leaderProvider. */
export class WriteRouter {
  private readonly closing = new AbortController();
  private readonly underWay = new Set<Promise<unknown>>();

  constructor(
    private readonly leader: LeaderPort,
    /** How long a write looks for a leader, ms. */
    readonly timeout: number,
  ) {}

  get isLocal(): boolean {
    return this.leader.isLeader();
  }

  /** Runs a write where the leader is; looks for another one as long as nothing was done. */
  async route<R>(way: Way<R>): Promise<R> {
    const { leader, timeout } = this;
    const { signal } = this.closing;
    const deadline = performance.now() + timeout;
    for (;;) {
      signal.throwIfAborted();
      const left = Math.max(1, deadline - performance.now());
      const isLeader = leader.isLeader() || (await leader.known(left, signal)).isLeader;
      signal.throwIfAborted();
      try {
        return isLeader ? await way.here() : await this.there(way);
      } catch (error) {
        if (!isMoved(error)) throw error;
        if (way.isRepeatable?.() === false) throw leaderChanged(error);
        leader.look();
        if (performance.now() + PAUSE_MS >= deadline) throw leader.unknown(timeout, error);
        await sleep(PAUSE_MS);
      }
    }
  }

  /**
   * Takes no more writes, and ends those that look for a leader; resolves when those that the leader has are answered.
   *
   * @param reason What the others fail with.
   */
  async close(reason: HAError): Promise<void> {
    this.closing.abort(reason);
    await Promise.allSettled(this.underWay);
  }

  private async there<R>(way: Way<R>): Promise<R> {
    return this.follow(this.leader.writer().then((leader) => way.there(leader)));
  }

  /** Has {@link close} wait for something that the leader may have been given. */
  async follow<R>(running: Promise<R>): Promise<R> {
    this.underWay.add(running);
    try {
      return await running;
    } finally {
      this.underWay.delete(running);
    }
  }

  /**
   * Refuses what another node has sent here as to the leader, where this one does not lead: sent on, it might go round and
   * round.
   *
   * @throws HAError `HA_NOT_LEADER`, `HA_LEADER_LOOP`.
   */
  refuseUnlessLeader(): void {
    if (this.leader.isLeader()) return;
    if (this.leader.isStatic) throw loop();
    throw notLeader();
  }
}

/** True where nothing was done, and another node leads, or will. */
export function isMoved(error: unknown): error is HAError {
  return error instanceof HAError && error.code === 'HA_NOT_LEADER';
}

/** Nothing was done. */
export function notLeader(cause?: unknown): HAError {
  const because = cause instanceof Error ? ` (${cause.message})` : '';
  return new HAError(
    'HA_NOT_LEADER',
    `The write came to a node that does not lead the cluster${because}, and nothing was written. Run this again: it goes to the leader.`,
    { cause, retryable: true },
  );
}

/** A transaction that was under way when the leader changed. */
export function leaderChanged(cause: unknown): HAError {
  const because = cause instanceof Error ? ` (${cause.message})` : '';
  return new HAError(
    'HA_LEADER_CHANGED',
    `The leader changed, or could not be reached any more, while the transaction was under way${because}. Nothing of it was written. Run it again.`,
    { cause, retryable: true },
  );
}

function loop(): HAError {
  return new HAError(
    'HA_LEADER_LOOP',
    'A write was forwarded to this node as to the leader, but leaderProvider=static names another one here. Name the same leader on all nodes; the leader itself names its own gRPC address, or has no leaderProvider.',
  );
}
