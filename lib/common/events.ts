import type { HAError } from './ha-error.js';

/**
 * Every code a warning can carry.
 *
 * - `HA_GENERATED_IDS`: SQLite chose an id in a table, and another node may choose the same (`generatedIds=overwrite`).
 */
export type HAWarningCode = 'HA_GENERATED_IDS';

/** What a database tells about itself, as it happens: `HADatabase.events`. Sequences are stream sequences. */
export type HAEvent =
  | {
      /** A transaction of the stream was applied here. */
      readonly type: 'applied';
      readonly sequence: bigint;
      readonly node: string;
      readonly changes: number;
    }
  | {
      /** A change was left out, on every node alike; it is recorded in `ha_skipped`. */
      readonly type: 'skipped';
      readonly sequence: bigint;
      readonly node: string;
      readonly target: string;
      readonly reason: string;
    }
  | {
      /** Applying has stopped at a message, and goes on only when somebody acts. */
      readonly type: 'halted';
      readonly sequence: bigint;
      readonly error: HAError;
    }
  | {
      /** Something failed that is tried again by itself. */
      readonly type: 'error';
      readonly error: Error;
    }
  | {
      /** Nothing failed, but somebody should know; once for each table and start. */
      readonly type: 'warning';
      readonly code: HAWarningCode;
      readonly table: string;
      /** What may happen, and what to do. */
      readonly message: string;
    }
  | { readonly type: 'connected' }
  | { readonly type: 'disconnected' }
  | { readonly type: 'started' }
  | { readonly type: 'stopped' };

/** Takes events; the database's owner turns them into an Observable. */
export type EventSink = (event: HAEvent) => void;
