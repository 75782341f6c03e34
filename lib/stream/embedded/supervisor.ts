import { setTimeout as sleep } from 'node:timers/promises';
import type { NatsServerBinary } from './binary.js';
import { reasonOf } from './errors.js';
import { NatsProcess } from './nats-process.js';
import type { NatsExit } from './nats-process.js';
import type { ResolvedSettings } from './settings.js';
import type { StoreLock } from './store-lock.js';

/** What happens to an embedded server after it was started. */
export type EmbeddedNatsStatus =
  /** It ended without being asked to; a restart follows. */
  | { type: 'exit'; exit: NatsExit }
  /** A restart follows in so many milliseconds. */
  | { type: 'restarting'; attempt: number; delay: number }
  /** A restart failed; the next follows. */
  | { type: 'restart-failed'; attempt: number; error: Error }
  /** It answers again, on the port it had. */
  | { type: 'ready'; pid: number; port: number }
  /** It was stopped by its last holder. */
  | { type: 'stopped' };

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

/** A run of at least so many milliseconds starts the back-off anew. */
const STABLE_MS = 10_000;

/** Keeps one nats-server running on one port: restarts it with back-off until it is told to stop. */
export class Supervisor {
  private readonly listeners = new Set<(status: EmbeddedNatsStatus) => void>();
  private readonly stopping = new AbortController();
  private readonly supervision: Promise<void>;
  private attempt = 0;

  private constructor(
    readonly binary: NatsServerBinary,
    private readonly settings: ResolvedSettings,
    private readonly lock: StoreLock | undefined,
    private readonly log: (line: string) => void,
    private process: NatsProcess,
  ) {
    this.host = process.host;
    this.port = process.port;
    this.supervision = this.supervise();
  }

  /** The address and port clients reach it at; they never change. */
  readonly host: string;
  readonly port: number;

  /**
   * Starts the first run. The lock is taken over, and given up when this fails or the server is stopped.
   *
   * @throws {HAError} HA_NATS_SERVER when that does not get ready.
   */
  static async start(
    binary: NatsServerBinary,
    settings: ResolvedSettings,
    lock: StoreLock | undefined,
    log: (line: string) => void,
  ): Promise<Supervisor> {
    try {
      const run = { binary, settings, port: settings.configFile ? 0 : settings.port, lockFile: lock?.path, log };
      return new Supervisor(binary, settings, lock, log, await NatsProcess.start(run));
    } catch (error) {
      await lock?.release();
      throw error;
    }
  }

  /** Process id of the run at hand. */
  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** Calls the listener at each change until the returned function is called. */
  onStatus(listener: (status: EmbeddedNatsStatus) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Stops the server and any restart under way. Resolves when it is gone. Never rejects. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.process.stop();
    await this.supervision;
    await this.lock?.release();
    this.emit({ type: 'stopped' });
  }

  private async supervise(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const startedAt = performance.now();
      const exit = await this.process.exited;
      if (this.stopping.signal.aborted) return;
      if (performance.now() - startedAt >= STABLE_MS) this.attempt = 0;
      this.emit({ type: 'exit', exit });
      while (!this.stopping.signal.aborted && !(await this.restart())) continue;
    }
  }

  private async restart(): Promise<boolean> {
    const attempt = ++this.attempt;
    const delay = Math.min(FIRST_DELAY_MS * 2 ** (attempt - 1), LONGEST_DELAY_MS);
    this.emit({ type: 'restarting', attempt, delay });
    await sleep(delay, undefined, { signal: this.stopping.signal, ref: false }).catch(() => undefined);
    if (this.stopping.signal.aborted) return false;
    try {
      await this.startAgain();
      return true;
    } catch (error) {
      if (this.stopping.signal.aborted) return false;
      this.emit({ type: 'restart-failed', attempt, error: error instanceof Error ? error : new Error(String(error)) });
      return false;
    }
  }

  private async startAgain(): Promise<void> {
    const { binary, settings, port, log } = this;
    const { signal } = this.stopping;
    this.process = await NatsProcess.start({ binary, settings, port, lockFile: this.lock?.path, log, signal });
    // stop() saw the run before this one, so this one is stopped here.
    if (this.stopping.signal.aborted) await this.process.stop();
    else this.emit({ type: 'ready', pid: this.pid, port });
  }

  private emit(status: EmbeddedNatsStatus): void {
    this.log(describe(status));
    for (const listener of this.listeners) {
      try {
        listener(status);
      } catch (error) {
        this.log(`a status listener failed: ${reasonOf(error)}`);
      }
    }
  }
}

function describe(status: EmbeddedNatsStatus): string {
  switch (status.type) {
    case 'exit':
      return `nats-server ended unexpectedly (code ${status.exit.code ?? 'none'}, signal ${status.exit.signal ?? 'none'})`;
    case 'restarting':
      return `restarting nats-server in ${status.delay} ms (attempt ${status.attempt})`;
    case 'restart-failed':
      return `restart ${status.attempt} of nats-server failed: ${status.error.message}`;
    case 'ready':
      return `nats-server is ready on port ${status.port} (process ${status.pid})`;
    case 'stopped':
      return 'nats-server is stopped';
  }
}
