import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from './connection.js';
import { isBusy } from './connections.js';
import type { ControlWrites } from './control-writes.js';
import type { ForeignWrites } from './foreign-writes.js';
import type { WriteTurn } from './write-turn.js';

/** How often is looked where nobody writes, ms. */
const LOOK_MS = 1_000;

export interface AlarmPorts {
  readonly turn: WriteTurn;
  readonly control: ControlWrites;
  readonly emit: EventSink;
  /** Stream sequence up to which everything is applied. */
  readonly received: () => number;
}

/**
 * The alarm that somebody else wrote to the file: raised once, and kept in the database until somebody acts, so that a
 * restart does not hide it.
 */
export class ForeignWriteAlarm {
  error: HAError | undefined;
  private timer: NodeJS.Timeout | undefined;
  private storing: Promise<void> = Promise.resolve();

  constructor(
    private readonly path: string,
    private readonly ports: AlarmPorts,
  ) {}

  /** Raises an alarm of an earlier start again, and begins to look while nobody writes. */
  start(db: Connection, foreign: ForeignWrites): void {
    const row = db.prepare('SELECT found_at, received FROM main.ha_foreign_writes LIMIT 1').get() as
      { found_at: string; received: number } | undefined;
    if (row !== undefined && this.error === undefined) this.raise(row.found_at, row.received);
    this.timer = setInterval(() => this.look(foreign), LOOK_MS);
    this.timer.unref();
  }

  /** Called for each foreign commit that is found. */
  found(): void {
    if (this.error !== undefined) return;
    const foundAt = new Date().toISOString();
    const received = this.ports.received();
    this.raise(foundAt, received);
    this.store((db) => db.prepare('INSERT INTO main.ha_foreign_writes VALUES(?, ?)').run(foundAt, BigInt(received)));
  }

  /** Ends the alarm: somebody has seen to it. */
  async acknowledge(): Promise<void> {
    this.error = undefined;
    this.store((db) => db.exec('DELETE FROM main.ha_foreign_writes'));
    await this.storing;
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.storing;
  }

  private look(foreign: ForeignWrites): void {
    if (!this.ports.turn.isFree) return;
    try {
      foreign.look();
    } catch (error) {
      if (!isBusy(error)) this.ports.emit({ type: 'error', error: error as Error });
    }
  }

  private raise(foundAt: string, received: number): void {
    this.error = foreignWrite(this.path, foundAt, received);
    this.ports.emit({ type: 'foreignWrite', error: this.error });
  }

  private store(work: (db: Connection) => unknown): void {
    this.storing = this.storing
      .then(() => this.ports.control.run(work))
      .then(
        () => undefined,
        (error: Error) => this.ports.emit({ type: 'error', error }),
      );
  }
}

function foreignWrite(path: string, foundAt: string, received: number): HAError {
  return new HAError(
    'HA_FOREIGN_WRITE',
    `Something else than this database wrote to '${path}', found ${foundAt} at stream sequence ${received}: those rows are on this node only, and the nodes differ. Call db.resync() to build the file anew from the stream, or db.acknowledgeForeignWrite() where the write was meant. (Another program that runs VACUUM or empties the WAL looks the same.)`,
    { details: { path, foundAt, received } },
  );
}
