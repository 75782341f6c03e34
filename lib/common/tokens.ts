/** Name of the database of an application that has only one. */
export const DEFAULT_CONNECTION = 'default';

/** Parts of a connection that can be injected. */
export type HAPart =
  | 'database'
  | 'runtime'
  | 'options'
  | 'publisher'
  | 'subscriber'
  | 'snapshotter'
  | 'leader'
  | 'lifecycle'
  | 'forwarding'
  | 'consistentReads'
  | 'idleConnections'
  | 'leaderGuard'
  | 'consistentReadInterceptor'
  | 'interceptors'
  | 'assembly';

/**
 * The injection token of a database: what `@InjectHA(connection)` injects, and what tests override.
 *
 * @param connection Name of the database, where an application has several. Default `default`.
 */
export function getHAToken(connection: string = DEFAULT_CONNECTION): string {
  return partToken('database', connection);
}

/**
 * The injection token of the `HALeader` of a database.
 *
 * @param connection Name of the database, where an application has several. Default `default`.
 */
export function getHALeaderToken(connection: string = DEFAULT_CONNECTION): string {
  return partToken('leader', connection);
}

/** The injection token of a part of a connection. */
export function partToken(part: HAPart, connection: string = DEFAULT_CONNECTION): string {
  return `nestjs-ha:${part}:${connection}`;
}
