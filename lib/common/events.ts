import type { HAError } from './ha-error.js';

/**
 * Every code a warning can carry.
 *
 * - `HA_GENERATED_IDS`: SQLite chose an id in a table, and another node may choose the same (`generatedIds=overwrite`).
 * - `HA_INTERCEPTORS`: a node of the cluster has other interceptors than this one, so its rows will differ.
 */
export type HAWarningCode = 'HA_GENERATED_IDS' | 'HA_INTERCEPTORS';

/**
 * A value of SQLite by storage class: INTEGER is always a `bigint`, REAL always a `number`, a BLOB is a `Buffer`, TEXT a
 * `string`, NULL is `null`.
 */
export type HAValue = null | bigint | number | string | Buffer;

/** Values by column name; generated columns are left out. */
export type HARow = Readonly<Record<string, HAValue>>;

/**
 * A transaction overwrote or deleted a row that somebody else had changed meanwhile, and which its writer had not seen: the
 * last writer in the stream wins. Every node tells the same conflicts, those that lost and won too. One event a row, in
 * front of the `applied` of that transaction. Names of tables and columns are those of now.
 *
 * Nothing is told where nothing was lost: the values are equal, or the row was last changed by the winner's own earlier
 * transactions. Conflicts are looked for only while somebody subscribes to `events`.
 */
export interface HAConflict {
  readonly type: 'conflict';
  /** Stream sequence of the winner: where it happened. */
  readonly sequence: bigint;
  readonly table: string;
  /**
   * Which row was lost: the columns of its primary key; its rowid where it has none, or NULL in it; undefined where columns
   * shadow every name of the rowid too.
   */
  readonly key: HARow | bigint | undefined;
  /**
   * What the winner did. INSERT and UPDATE may have removed a row with another key: one that stood in the way of a unique
   * index.
   */
  readonly operation: 'INSERT' | 'UPDATE' | 'DELETE';
  /** The row as it was stored. Undefined where it was deleted, and an UPDATE brought it back. */
  readonly lost: HARow | undefined;
  readonly winner: {
    readonly node: string;
    readonly sequence: bigint;
    /** The row that it wrote; undefined for a DELETE. */
    readonly values: HARow | undefined;
  };
  /** Who wrote or deleted what is lost; undefined where that is no longer known. */
  readonly loser: { readonly node: string; readonly sequence: bigint } | undefined;
}

/** What a database tells about itself, as it happens: `HADatabase.events`. Sequences are stream sequences. */
export type HAEvent =
  | HAConflict
  | {
      /** A transaction of the stream was applied here. */
      readonly type: 'applied';
      readonly sequence: bigint;
      readonly node: string;
      readonly changes: number;
    }
  | {
      /**
       * Interceptors changed what a transaction of the stream does; on every node alike, its writer too. In front of its
       * `applied`.
       */
      readonly type: 'intercepted';
      readonly sequence: bigint;
      /** Who wrote the transaction. */
      readonly node: string;
      /** Names of those that left something out or replaced it, in the order of the option. */
      readonly interceptors: readonly string[];
      /** How many changes it had. */
      readonly written: number;
      /** How many of them, or in their place, took effect. */
      readonly applied: number;
    }
  | {
      /**
       * A change was left out, on every node alike, or a whole message on this node, by `db.skip()`: then `target` is its id and `node` empty.
       * Both are recorded in `ha_skipped`.
       */
      readonly type: 'skipped';
      readonly sequence: bigint;
      readonly node: string;
      readonly target: string;
      readonly reason: string;
    }
  | {
      /** Applying has stopped at a message (`sequence` is that of `error.details` where it names one), until somebody acts. */
      readonly type: 'halted';
      readonly sequence: bigint;
      readonly error: HAError;
    }
  | {
      /** Something else than this database wrote to the file; raised once until somebody acts. */
      readonly type: 'foreignWrite';
      readonly error: HAError;
    }
  | {
      /** The file was built anew from the stream; the old one is at `path`, unless it was in memory. */
      readonly type: 'resynced';
      readonly path: string | undefined;
    }
  | {
      /**
       * A snapshot was stored by this node (`stored`), or this node's file was replaced by one (`restored`). `sequence` is
       * the stream's up to which it goes, `size` is in bytes, `ms` how long it took.
       */
      readonly type: 'snapshot';
      readonly action: 'stored' | 'restored';
      readonly sequence: bigint;
      readonly size: number;
      readonly ms: number;
    }
  | {
      /** A snapshot is under way: `bytes` of `size`, so many a second (`rate`). A few times a second. */
      readonly type: 'progress';
      readonly action: 'store' | 'restore';
      readonly bytes: number;
      readonly size: number;
      /** 0 to 100. */
      readonly percent: number;
      readonly rate: number;
    }
  | {
      /** Something failed that is tried again by itself. */
      readonly type: 'error';
      readonly error: Error;
    }
  | {
      /** Nothing failed, but somebody should know; once for each table and start. */
      readonly type: 'warning';
      readonly code: 'HA_GENERATED_IDS';
      readonly table: string;
      /** What may happen, and what to do. */
      readonly message: string;
    }
  | {
      /** The same, about another node; at each start. */
      readonly type: 'warning';
      readonly code: 'HA_INTERCEPTORS';
      readonly node: string;
      readonly message: string;
    }
  | {
      /** Another node leads the cluster now, or none that is known, or this one. */
      readonly type: 'leader';
      readonly isLeader: boolean;
      /** Its name, where it is known. */
      readonly node: string | undefined;
      /** Its addresses; undefined where no leader is known. */
      readonly target: string | undefined;
    }
  | { readonly type: 'connected' }
  | { readonly type: 'disconnected' }
  | { readonly type: 'started' }
  | { readonly type: 'stopped' };

/** Takes events; the database's owner turns them into an Observable. */
export type EventSink = (event: HAEvent) => void;
