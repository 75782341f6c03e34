import type { HAOptionsWithDsn } from './config/resolve.js';
import { resolveOptions } from './config/resolve.js';
import type { ResolvedHAOptions } from './config/resolved.js';
import type { ReplicationStream } from './stream/replication-stream.js';

/** How options become a database; tests replace it, so that an application needs neither files nor servers. */
export interface HAWiring {
  resolve(options: HAOptionsWithDsn, connection: string): ResolvedHAOptions;
  /** The stream instead of the one that the options describe. */
  stream(options: ResolvedHAOptions): ReplicationStream | undefined;
}

/** The token of the {@link HAWiring} of an application. */
export const HA_WIRING = 'nestjs-ha:wiring';

/** What applications run with. */
export const DEFAULT_WIRING: HAWiring = {
  resolve: (options) => resolveOptions(options),
  stream: () => undefined,
};
