import { newOrigin, readSeen, readSkips, recordOrigin, writeCarried } from '../sqlite/control-tables.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import type { Connections } from '../sqlite/connections.js';
import { ControlWrites } from '../sqlite/control-writes.js';
import { ForeignWriteAlarm } from '../sqlite/foreign-write-alarm.js';
import { ForeignWrites } from '../sqlite/foreign-writes.js';
import { Outcomes } from '../sqlite/outcomes.js';
import { Position } from '../sqlite/position.js';
import type { WriteTurn } from '../sqlite/write-turn.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import { recordSkip } from '../subscribe/record-skip.js';
import type { Connected } from './connecting.js';
import type { Launch } from './launch.js';
import type { Messages } from './messages.js';

/** What a database knows of itself in its stream, from the control tables of its file: all else stands on it. */
export interface Footing {
  readonly connections: Connections;
  readonly turn: WriteTurn;
  readonly foreign: ForeignWrites;
  readonly alarm: ForeignWriteAlarm;
  readonly stream: ReplicationStream;
  /** Where it stands at the start. */
  readonly cursor: StreamCursor;
  /** Where it stands now. */
  readonly position: Position;
  readonly control: ControlWrites;
  readonly outcomes: Outcomes;
  readonly origins: ReadonlySet<string>;
  readonly skips: ReadonlySet<number>;
}

/** Where footing is found. */
export interface FootingPorts {
  readonly connections: Connections;
  readonly turn: WriteTurn;
  readonly launch: Launch;
  readonly messages: Messages;
  /** How long to wait for other programs that write to the file, ms. */
  readonly busyTimeout: number;
  /** Brings the database to its stream. */
  readonly connect: () => Promise<Connected>;
}

/** Connects, and reads the control tables; what the start brings along is written to them first. */
export async function findFooting(ports: FootingPorts): Promise<Footing> {
  const { connections, turn, launch, messages, busyTimeout } = ports;
  const { applier } = connections;
  // Looks for foreign writes from here on: connecting may take a while.
  const foreign = new ForeignWrites(applier, () => alarm.found());
  const { stream, cursor } = await ports.connect();
  const origin = newOrigin();
  const position = new Position(cursor, readSeen(applier), origin);
  const control = new ControlWrites(applier, turn, foreign, busyTimeout);
  const alarm = new ForeignWriteAlarm(connections.path, {
    turn,
    control,
    emit: messages.emit,
    received: () => position.received,
  });
  const outcomes = new Outcomes(connections.reader);
  const { carried, skip } = launch;
  if (carried !== undefined) await control.run((db) => writeCarried(db, carried));
  if (skip !== undefined) await control.run((db) => recordSkip(db, skip.message, skip.reason));
  const origins = await control.run((db) => recordOrigin(db, origin));
  const skips = readSkips(applier);
  return { connections, turn, foreign, alarm, stream, cursor, position, control, outcomes, origins, skips };
}
