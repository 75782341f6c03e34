import { randomUUID } from 'node:crypto';
import { threadId } from 'node:worker_threads';
import { isAlive, machineId } from '../../common/machine.js';

/** Which start of which process holds something: part of every value that a node stores in a bucket. */
export interface SessionMark {
  /** Random for every start of a database. */
  readonly session: string;
  /** What `pid` means something within. */
  readonly machine: string;
  readonly pid: number;
  readonly thread: number;
}

/**
 * The sessions that live in this thread. Every copy of this module that is loaded here has to see them, so they hang on the
 * global object and not on the module.
 */
const LIVE = Symbol.for('nestjs-ha.live-sessions');

function liveSessions(): Set<string> {
  const holder = globalThis as { [LIVE]?: Set<string> };
  return (holder[LIVE] ??= new Set());
}

/** One start of a database, from {@link Session.begin} to {@link Session.end}. */
export class Session {
  private constructor(readonly mark: SessionMark) {}

  static begin(): Session {
    const mark = { session: randomUUID(), machine: machineId(), pid: process.pid, thread: threadId };
    liveSessions().add(mark.session);
    return new Session(mark);
  }

  end(): void {
    liveSessions().delete(this.mark.session);
  }

  /** What is known of another session without watching it: `unknown` where it is of another machine, process or thread. */
  judge(other: SessionMark): 'alive' | 'dead' | 'unknown' {
    const { machine, pid, thread } = this.mark;
    if (other.machine !== machine) return 'unknown';
    if (other.pid !== pid) return isAlive(other.pid) ? 'unknown' : 'dead';
    if (other.thread !== thread) return 'unknown';
    return liveSessions().has(other.session) ? 'alive' : 'dead';
  }
}
