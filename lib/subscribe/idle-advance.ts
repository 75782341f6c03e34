import { CursorWriter } from '../sqlite/control-tables.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import type { Connection } from '../sqlite/connection.js';
import type { ControlWrites } from '../sqlite/control-writes.js';
import type { Position } from '../sqlite/position.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { ReplicationSubscriber } from './replication-subscriber.js';

export interface IdleAdvancePorts {
  readonly stream: ReplicationStream;
  readonly position: Position;
  readonly control: ControlWrites;
  readonly subscriber: Pick<ReplicationSubscriber, 'state' | 'backlog'>;
  readonly subject: string;
  /** How long the stream keeps messages, ms. */
  readonly maxAge: number | undefined;
}

const LONGEST_PAUSE_MS = 10_000;
const SHORTEST_PAUSE_MS = 100;

/**
 * Moves the position of a database that nobody writes to behind the messages of others on the same stream. Else, when those
 * expire, nobody could tell that none of this database's was among them.
 *
 * The order of the two questions counts: the stream's end first, then the last message on the subject. Where that one is
 * applied, nothing of ours lies in front of that end.
 */
export class IdleAdvance {
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> | undefined;
  private stopped = false;

  constructor(private readonly ports: IdleAdvancePorts) {}

  start(): void {
    const { maxAge } = this.ports;
    const pause = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, (maxAge ?? Infinity) / 4));
    this.timer = setInterval(() => {
      // It is tried again: what fails here is told by the connection.
      this.running ??= this.advance()
        .catch(() => undefined)
        .finally(() => (this.running = undefined));
    }, pause).unref();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.timer);
    await this.running;
  }

  /** Moves the position now, where it may. */
  async advance(): Promise<void> {
    const { stream, position, control, subject } = this.ports;
    if (!this.isIdle()) return;
    const { cursor } = position;
    const { lastSequence } = await stream.state();
    if (lastSequence <= cursor.received) return;
    const last = await stream.lastSubjectSequence();
    if (last > cursor.subjectSequence) return;
    // Nothing on the subject: one of ours may have gone between the two answers.
    if (last === 0 && (await stream.state()).firstSequence > cursor.received + 1) return;
    if (!this.isIdle()) return;
    const next: StreamCursor = { ...cursor, received: lastSequence };
    await control.run(
      (db: Connection) => {
        if (position.cursor !== cursor || !this.isIdle()) return false;
        new CursorWriter(db, subject).write(next, position.seen);
        return true;
      },
      (written) => {
        if (written) position.advance(next);
      },
    );
  }

  private isIdle(): boolean {
    const { stream, subscriber } = this.ports;
    return !this.stopped && stream.isConnected && subscriber.state === 'running' && subscriber.backlog === 0;
  }
}
