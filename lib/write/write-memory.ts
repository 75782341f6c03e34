import { currentSession, lastWritten } from './session-context.js';
import type { SessionMemory } from './session-context.js';

/** Remembers where the writes to a database stand in the stream, for reads that have to see them: sequences. */
export class WriteMemory {
  /** Last write of this process. */
  private written = 0;

  /** @param owner The database. */
  constructor(private readonly owner: object) {}

  /** The last write of the session that runs, or else of this process; 0 where there is none. */
  last(): number {
    return lastWritten(this.owner) ?? this.written;
  }

  /** Notes a write of the session that runs; undefined where it stands nowhere. */
  note(sequence: number | undefined): void {
    this.noteFor(currentSession(), sequence);
  }

  /** Notes a write of another session: it is answered in the course of whatever runs then. */
  noteFor(session: SessionMemory | undefined, sequence: number | undefined): void {
    if (sequence === undefined) return;
    this.written = Math.max(sequence, this.written);
    session?.note(this.owner, sequence);
  }
}
