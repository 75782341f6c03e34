import type { HAError } from '../common/ha-error.js';

interface RecoveryPorts {
  /** Milliseconds until the next attempt, where one failed. */
  readonly pauseMs: number;
  /** Whether an attempt would get further than the last one. */
  readonly isWorthwhile: (cause: HAError) => Promise<boolean>;
  /** Starts the database anew. */
  readonly restart: (cause: HAError) => Promise<void>;
  readonly failed: (error: unknown) => void;
}

/**
 * A node that has halted because the stream lacks what it needs, or because it was told to take over another state, comes
 * back by itself from a snapshot. Until there is one it stays as it is, and can be read; also where an attempt fails.
 */
export class Recovery {
  private timer: NodeJS.Timeout | undefined;
  private cause: HAError | undefined;
  /** Attempts since the last one that got through. */
  private attempts = 0;

  constructor(private readonly ports: RecoveryPorts) {}

  /** Call where the node has halted. */
  begin(cause: HAError): void {
    if (cause.code !== 'HA_STREAM_GAP' && cause.code !== 'HA_BASE_CHANGED') return;
    this.cause = cause;
    this.schedule(this.attempts === 0 ? 0 : this.ports.pauseMs);
  }

  /** Call where the database is stopped, or started anew. */
  end(): void {
    clearTimeout(this.timer);
    this.cause = undefined;
  }

  private schedule(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.attempt(), ms).unref();
  }

  private async attempt(): Promise<void> {
    const { cause, ports } = this;
    if (cause === undefined) return;
    try {
      if (await ports.isWorthwhile(cause)) {
        if (this.cause !== cause) return;
        this.attempts++;
        await ports.restart(cause);
        this.attempts = 0;
        return;
      }
    } catch (error) {
      ports.failed(error);
    }
    if (this.cause === cause) this.schedule(ports.pauseMs);
  }
}
