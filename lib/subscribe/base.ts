import type { ChangeSet } from '../changeset/changeset.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';

/**
 * A *base* is a state that does not come out of the stream: the rows of a file that founded the cluster, or those of the
 * node that all others were told to follow (`resync({ from: 'this-node' })`). It is stored as a snapshot under an id, and
 * then a message in the stream says that from there on the database is that state. A node that meets the message takes
 * over the snapshot; one that started from a later snapshot never meets it. go-ha passes over the message.
 */
export const BASE_COMMAND = 'ha.base';

const COMMAND = new RegExp(`^${BASE_COMMAND.replace('.', '[.]')} ([-\\w]+)$`);

export function baseCommand(id: string): string {
  return `${BASE_COMMAND} ${id}`;
}

/** The id of the base that a message brings; undefined where it is another message. */
export function baseOf({ changes }: ChangeSet): string | undefined {
  const [change] = changes;
  if (change?.operation !== 'CUSTOM') return undefined;
  return COMMAND.exec(change.command)?.[1];
}

/** The base that a database stands on; '' where all of it comes out of the stream. */
export function readBase(db: Connection): string {
  const known = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'ha_base'`).get();
  if (known === undefined) return '';
  return (db.prepare('SELECT id FROM main.ha_base').pluck().get() as string | undefined) ?? '';
}

/** Call inside the transaction that makes the database stand on it. */
export function writeBase(db: Connection, id: string): void {
  db.prepare('INSERT OR REPLACE INTO main.ha_base VALUES(1, ?)').run(id);
}

/** The message that a node has met. */
export interface BaseChange {
  readonly sequence: number;
  readonly base: string;
}

/** The cluster was told to take over the state of one node. */
export function baseChanged({ sequence, base }: BaseChange, node: string): HAError {
  return new HAError(
    'HA_BASE_CHANGED',
    `At sequence ${sequence} ${node} made its rows those of the whole cluster. This node takes them over from the snapshot by itself; with bootstrap=never call db.resync({ from: 'snapshot' }).`,
    { details: { sequence, base } },
  );
}

/** The change that an error speaks of. */
export function baseChangeOf(error: unknown): BaseChange | undefined {
  if (!(error instanceof HAError) || error.code !== 'HA_BASE_CHANGED') return undefined;
  const { sequence, base } = error.details;
  return { sequence: Number(sequence), base: String(base) };
}
