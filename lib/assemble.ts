import { Logger } from '@nestjs/common';
import type { ModuleRef } from '@nestjs/core';
import { NestTargets } from './cdc/nest-targets.js';
import type { HAInterceptor } from './changeset/interceptor.js';
import { DEFAULT_CONNECTION } from './common/tokens.js';
import type { HAFactoryOptions } from './ha-module-options.js';
import type { HARegistry } from './ha-registry.js';
import { HARuntime } from './ha-runtime.js';
import type { HAWiring } from './ha-wiring.js';
import { resolveModuleOptions } from './resolve-module-options.js';

const DEFAULT_RETRY_ATTEMPTS = 10;
const DEFAULT_RETRY_DELAY_MS = 3_000;

/** A database, and who receives its changes. */
export interface Assembly {
  readonly runtime: HARuntime;
  readonly targets: NestTargets;
}

/** Makes a database from its options, without opening it. */
export function assemble(
  connection: string,
  given: HAFactoryOptions | undefined,
  wiring: HAWiring,
  modules: ModuleRef,
  interceptors: readonly HAInterceptor[],
  registry: HARegistry,
): Assembly {
  const { options, cdc, all } = resolveModuleOptions(given, connection, wiring);
  const { configure, retryAttempts = DEFAULT_RETRY_ATTEMPTS, retryDelay = DEFAULT_RETRY_DELAY_MS } = all;
  const targets = new NestTargets(cdc, options.replicationStream, modules);
  const runtime = new HARuntime(options, {
    logger: new Logger(connection === DEFAULT_CONNECTION ? 'HAModule' : `HAModule:${connection}`),
    configure,
    interceptors,
    retryAttempts,
    retryDelay,
    stream: wiring.stream(options),
    cdc: targets.registrations,
    cross: registry.crossOf(options),
  });
  if (options.allowCrossDatabase || options.queryRouter !== undefined) {
    runtime.events.subscribe(({ type }) => type === 'started' && registry.warm());
  }
  return { runtime, targets };
}
