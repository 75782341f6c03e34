import { v7 } from 'uuid';
import type { Connection } from './connection.js';
import type { IdGenerator } from './id-generator.js';

/** Names of the SQL functions of this library. They give another value with every call, on every node. */
export const SQL_FUNCTIONS = ['ha_id', 'ha_uuid'] as const;

/**
 * Registers the SQL functions on a connection:
 *
 * | function | value |
 * | --- | --- |
 * | `ha_id()` | INTEGER that is unique in the cluster and grows with time, from 1 to 2^53 − 1 (id-generator.ts) |
 * | `ha_uuid()` | TEXT, a UUID of version 7 in lower case, which grows within a process (RFC 9562) |
 *
 * They may stand in statements, triggers and `DEFAULT (…)`. A function of the same name that is there already is replaced.
 */
export function registerFunctions(db: Connection, ids: IdGenerator): void {
  const options = { deterministic: false, directOnly: false };
  // A bigint, for better-sqlite3 makes every JavaScript number a REAL.
  db.function('ha_id', options, () => ids.next());
  db.function('ha_uuid', options, () => v7());
}
