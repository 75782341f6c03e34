import type { Knex } from 'knex';
import { HAError } from '../../common/ha-error.js';
import { loadPeer } from '../common/peer.js';

/** What a query of Knex carries to its client and back. */
export interface KnexQuery {
  readonly sql: string;
  readonly bindings?: readonly unknown[];
  readonly options?: unknown;
  response?: unknown;
  /** What Knex reads of a statement without rows. */
  context?: { readonly lastID: number | bigint; readonly changes: number };
}

/** What the adapter uses of Knex's client for better-sqlite3: https://github.com/knex/knex/tree/master/lib/dialects/better-sqlite3 */
export interface BaseClient extends Knex.Client {
  _formatBindings(bindings: readonly unknown[] | undefined): unknown[];
  _optSafeIntegers(options: unknown): boolean | undefined;
  _query(connection: unknown, query: KnexQuery): Promise<KnexQuery>;
}

/** The class of such a client. */
export type BaseClientClass = new (config: Knex.Config) => BaseClient;

const KNEX = { name: 'knex', from: [3, 1], below: [4, 0] } as const;
const NEEDED = ['_formatBindings', '_optSafeIntegers', '_query', 'poolDefaults', 'releaseConnection'] as const;

/** Knex's own client for better-sqlite3, of the copy that this package finds. */
export function knexClient(): BaseClientClass {
  return loadPeer(KNEX, 'lib/dialects/better-sqlite3/index.js') as BaseClientClass;
}

/** Another class that was derived from it, as MikroORM's, which has a copy of Knex for itself. */
export function derivedClient(client: unknown): BaseClientClass {
  const prototype = (typeof client === 'function' ? client.prototype : undefined) as BaseClient | undefined;
  if (prototype?.driverName === 'better-sqlite3' && NEEDED.every((name) => typeof prototype[name] === 'function')) {
    return client as BaseClientClass;
  }
  throw new HAError(
    'HA_OPTIONS_INVALID',
    `The option 'client' takes a class that is derived from Knex's client for better-sqlite3 (of Knex >=3.1 <4.0), as BetterSqliteKnexDialect of @mikro-orm/better-sqlite 6.`,
  );
}
