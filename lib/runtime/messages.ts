import type { Logger } from '@nestjs/common';
import { Subject } from 'rxjs';
import type { EventSink, HAEvent } from '../common/events.js';
import type { HAError } from '../common/ha-error.js';
import type { Telemetry } from '../common/telemetry.js';

/** What the database itself does about an event, before anybody is told. */
export interface Reactions {
  /** Applying has stopped: so do the writes. */
  readonly halted: (error: HAError) => void;
  readonly connected: () => void;
}

/** What a database tells: an event for the application, and a line in its log where an operator should read it. */
export class Messages {
  readonly events = new Subject<HAEvent>();
  /** Conflict events so far. */
  conflicts = 0;

  constructor(
    readonly logger: Logger,
    private readonly telemetry: Telemetry,
    private readonly reactions: Reactions,
  ) {}

  /** Counts, logs, reacts, and tells: whoever hears of an event finds the database in the state that it tells of. */
  readonly emit: EventSink = (event) => {
    this.count(event);
    this.log(event);
    if (event.type === 'halted') this.reactions.halted(event.error);
    if (event.type === 'connected') this.reactions.connected();
    this.events.next(event);
  };

  /** Tells of something that failed, and that the database goes on without. */
  readonly failed = (error: unknown): void => {
    this.emit({ type: 'error', error: error instanceof Error ? error : new Error(String(error)) });
  };

  private count({ type }: HAEvent): void {
    if (type === 'skipped') this.telemetry.sink?.skipped();
    if (type !== 'conflict') return;
    this.conflicts++;
    this.telemetry.sink?.conflict();
  }

  private log(event: HAEvent): void {
    const { logger } = this;
    if (event.type === 'halted' || event.type === 'foreignWrite') logger.error(event.error.message);
    else if (event.type === 'resynced') logger.warn(resyncedLine(event));
    else if (event.type === 'snapshot' && event.action === 'restored') logger.log(restoredLine(event));
    else if (event.type === 'error') logger.warn(event.error.message);
    else if (event.type === 'skipped') logger.warn(skippedLine(event));
    else if (event.type === 'warning') logger.warn(event.message);
    else if (event.type === 'intercepted') logger.debug?.(interceptedLine(event));
    else if (event.type === 'disconnected') logger.warn('The connection to NATS is lost; reads go on, writes wait.');
    else if (event.type === 'connected') logger.log('Connected to NATS again.');
  }
}

/** Two nodes may choose the same id for a new row. */
export function generatedIdWarning(table: string): HAEvent {
  const message = `SQLite chose the id of a new row in '${table}', and generatedIds is 'overwrite': two nodes that insert at once choose the same id, and the later row replaces the earlier one on every node. Insert ha_id() as the id, or set generatedIds=ordered where the option allows it.`;
  return { type: 'warning', code: 'HA_GENERATED_IDS', table, message };
}

/** Nodes that decide otherwise hold other rows. */
export function interceptorsDiffer(node: string, theirs: readonly string[], own: readonly string[]): HAEvent {
  const message = `The interceptors of '${node}' are ${listOf(theirs)}, and those of this node ${listOf(own)}: their rows will differ for good. Give all nodes the same, in the same order, and then call db.resync() where they were wrong.`;
  return { type: 'warning', code: 'HA_INTERCEPTORS', node, message };
}

function listOf(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.join(', ');
}

function resyncedLine({ path }: HAEvent & { type: 'resynced' }): string {
  return `Built anew${path === undefined ? '' : `; the old file is at ${path}`}.`;
}

function restoredLine({ size, sequence }: HAEvent & { type: 'snapshot' }): string {
  return `Started from a snapshot of ${size} bytes at sequence ${sequence}.`;
}

function interceptedLine({
  sequence,
  node,
  interceptors,
  written,
  applied,
}: HAEvent & { type: 'intercepted' }): string {
  return `Of ${written} change(s) by ${node} at sequence ${sequence} ${applied} took effect: ${interceptors.join(', ')}`;
}

function skippedLine({ sequence, node, target, reason }: HAEvent & { type: 'skipped' }): string {
  // A whole message that an operator had left out: nobody could read who wrote it.
  if (node === '')
    return `Left out the whole message ${target === '' ? '' : `'${target}' `}at sequence ${sequence}: ${reason}`;
  return `Left out a change of '${target}' by ${node} at sequence ${sequence}: ${reason}`;
}
