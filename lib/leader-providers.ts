import type { Provider } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { getHAToken, partToken } from './common/tokens.js';
import type { HARuntime } from './ha-runtime.js';
import { ConsistentReads } from './leader/consistent/consistent-reads.js';
import { ConsistentReadInterceptor } from './leader/consistent-read.interceptor.js';
import { IdleConnections } from './leader/idle-connections.js';
import type { HALeader } from './leader/leader.js';
import { LeaderForwarding } from './leader/leader-forwarding.js';
import { LeaderGuard } from './leader/leader-guard.js';
import type { HADatabase } from './write/ha-database.js';

/** What brings requests over HTTP to the leader of a database. */
export function leaderProviders(connection: string): Extract<Provider, { useFactory: unknown }>[] {
  return [
    {
      provide: partToken('forwarding', connection),
      inject: [partToken('runtime', connection), partToken('leader', connection)],
      useFactory: ({ options }: HARuntime, leader: HALeader) =>
        new LeaderForwarding(leader, { node: options.name, timeout: options.forwardTimeout }),
    },
    {
      provide: partToken('consistentReads', connection),
      inject: [partToken('runtime', connection), getHAToken(connection), partToken('forwarding', connection)],
      useFactory: ({ options }: HARuntime, database: HADatabase, forwarding: LeaderForwarding) =>
        new ConsistentReads(connection, database, forwarding, options.consistentReadTimeout),
    },
    {
      provide: partToken('idleConnections', connection),
      inject: [partToken('leader', connection), { token: HttpAdapterHost, optional: true }],
      useFactory: (leader: HALeader, host?: HttpAdapterHost) => new IdleConnections(leader, host),
    },
    {
      provide: partToken('leaderGuard', connection),
      inject: [partToken('forwarding', connection)],
      useFactory: (forwarding: LeaderForwarding) => new LeaderGuard(forwarding),
    },
    {
      provide: partToken('consistentReadInterceptor', connection),
      inject: [partToken('consistentReads', connection)],
      useFactory: (reads: ConsistentReads) => new ConsistentReadInterceptor(reads),
    },
  ];
}
