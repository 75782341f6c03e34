import { immediate } from '../common/timing.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { OpenDatabase } from '../write/open-database.js';
import type { HAStatus } from '../write/status.js';
import { closedError, relaunchError, stoppedError } from './errors.js';
import type { HaltedMessage, Launch } from './launch.js';
import type { Messages } from './messages.js';
import type { Opened } from './opened.js';
import type { Recovery } from './recovery.js';
import type { Starting } from './starting.js';

/** What is started and stopped. */
export interface MaintenanceParts {
  readonly messages: Messages;
  readonly subscriber: ReplicationSubscriber;
  readonly recovery: Recovery;
  readonly starting: Starting;
  readonly opened: Opened;
}

/**
 * Starts and stops the database, as often as it is asked to. Calls that stop it or start it anew wait for each other, in one
 * queue: the last call decides how the database is left.
 */
export class Maintenance {
  /** Ends with the last of the calls in the queue. */
  private queue: Promise<unknown> = Promise.resolve();
  /** The start that is under way, or the one that the database runs by. */
  private current: Promise<OpenDatabase> | undefined;
  private stopping = false;
  /** Ends the start that is under way. */
  private aborting = new AbortController();
  /** Calls of stop that have not ended: a start behind them waits for them. */
  private stops = 0;
  /** The message at which the last start failed. */
  private haltedStart: HaltedMessage | undefined;
  private closed = false;
  private stopped = false;

  constructor(private readonly parts: MaintenanceParts) {}

  /** For good. */
  get isClosed(): boolean {
    return this.closed;
  }

  /** Somebody has stopped it: only {@link start} brings it back. */
  get isStopped(): boolean {
    return this.stopped;
  }

  /** How far it is, where it is not open. */
  get phase(): Extract<HAStatus['state'], 'stopped' | 'starting'> {
    return this.current === undefined || this.stopping ? 'stopped' : 'starting';
  }

  /** The message at which applying has halted, or at which the last start failed. */
  get halted(): HaltedMessage | undefined {
    return this.haltedAt ?? this.haltedStart;
  }

  async start(): Promise<OpenDatabase> {
    if (this.closed) throw closedError();
    this.stopped = false;
    return this.stops === 0 ? this.startNow() : this.run(() => this.startNow());
  }

  /** Ends behind everything that was called before it. */
  async stop(): Promise<void> {
    const { opened } = this.parts;
    this.stopped = true;
    this.stops++;
    this.aborting.abort(stoppedError());
    // It waits until everything is applied.
    if (opened.database === undefined) opened.replication?.position.fail(stoppedError());
    await opened.impatiently(this.run(() => this.stopNow())).finally(() => this.stops--);
  }

  /** Closes the file until the next call, which opens it again. */
  async pause(): Promise<void> {
    this.stops++;
    await this.parts.opened.impatiently(this.run(() => this.pauseNow())).finally(() => this.stops--);
  }

  /** Stops for good. False where somebody else has done that, or is at it. */
  async close(): Promise<boolean> {
    if (this.closed) return false;
    this.closed = true;
    await this.stop();
    return true;
  }

  /** Does something when everything is done that was called before it. */
  run<R>(work: () => Promise<R>): Promise<R> {
    const run = this.queue.then(work);
    this.queue = run.catch(() => undefined);
    return run;
  }

  /** Waits for a start that is under way, however that ends. */
  async settled(): Promise<void> {
    if (this.parts.opened.database === undefined) await this.current?.catch(() => undefined);
  }

  /** What was stopped is wanted again. */
  revive(): void {
    this.stopped = false;
  }

  /** Starts the database, unless it is started already. */
  begin(launch?: Launch): Promise<OpenDatabase> {
    return (this.current ??= this.launch(launch));
  }

  /** Starts a database that a start before this one has failed to bring back. */
  beginAnew(launch: Launch): Promise<OpenDatabase> {
    return (this.current = this.launch(launch));
  }

  /**
   * Takes everything down, and starts again: calls wait for it, and writes that wait already fail.
   *
   * @param finished Called when no write is under way any more, and everything is still open.
   */
  relaunch(launch: Launch = {}, finished?: () => Promise<void>): Promise<OpenDatabase> {
    const { recovery, opened, messages } = this.parts;
    recovery.end();
    const stop = async (): Promise<void> => {
      await opened.impatiently(opened.finishWrites(relaunchError()));
      await finished?.();
      await opened.tearDown();
      messages.events.next({ type: 'stopped' });
    };
    return (this.current = this.launch(launch, stop));
  }

  private async startNow(): Promise<OpenDatabase> {
    if (this.closed) throw closedError();
    return this.begin();
  }

  private async stopNow(): Promise<void> {
    if (this.current === undefined) return;
    await this.current.catch(() => undefined);
    await this.end();
  }

  private async pauseNow(): Promise<void> {
    const { opened } = this.parts;
    if (this.current === undefined) return;
    // A start under way takes calls in front of its last step, and would go on in what is taken down.
    await this.current.catch(() => undefined);
    // The calls that it was for come first.
    await immediate();
    const { database } = opened;
    if (database === undefined || this.current === undefined) return;
    // Calls that come from now on wait, and open it again.
    opened.database = undefined;
    await this.end(database);
  }

  private async end(database?: OpenDatabase): Promise<void> {
    this.stopping = true;
    try {
      await this.parts.opened.stop(database);
    } finally {
      this.current = undefined;
      this.stopping = false;
    }
  }

  private async launch(launch: Launch = {}, before?: () => Promise<void>): Promise<OpenDatabase> {
    const { starting, opened } = this.parts;
    const { signal } = (this.aborting = new AbortController());
    try {
      await before?.();
      const open = await starting.start(launch, signal, () => this.closed);
      this.haltedStart = undefined;
      return open;
    } catch (error) {
      this.haltedStart = this.halted;
      await opened.tearDown();
      launch.onFailed?.();
      this.current = undefined;
      throw error;
    }
  }

  private get haltedAt(): HaltedMessage | undefined {
    const { haltedAt: message, haltedUnreadable: unreadable, error } = this.parts.subscriber;
    return message === undefined ? undefined : { message, unreadable, reason: error?.message ?? '' };
  }
}
