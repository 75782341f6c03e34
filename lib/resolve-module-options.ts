import { readTargets } from './cdc/registrations.js';
import type { ReadTarget } from './cdc/registrations.js';
import { Problems } from './config/problems.js';
import { titleOf } from './config/resolve.js';
import type { ResolvedHAOptions } from './config/resolved.js';
import type { HAFactoryOptions, HAModuleAsyncOptions, HAModuleOptionsWithDsn } from './ha-module-options.js';
import type { HAWiring } from './ha-wiring.js';

/** The options of a database, checked. */
export interface ResolvedModuleOptions {
  readonly options: ResolvedHAOptions;
  readonly cdc: readonly ReadTarget[];
  /** As they were given. */
  readonly all: HAFactoryOptions;
}

/** Options that make the module, and not the database: they have to be there before a factory can run. */
const OF_THE_MODULE = ['connection', 'isGlobal', 'interceptors', 'imports'] as const;
const OF_ASYNC = new Set<string>([
  ...OF_THE_MODULE,
  'extraProviders',
  'inject',
  'useFactory',
  'useClass',
  'useExisting',
]);

/**
 * Checks what the database is made of: everything that is wrong is in one error.
 *
 * @param given Without those that {@link HAModuleOptionsWithDsn} has for the module; without types a factory may give anything.
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function resolveModuleOptions(given: unknown, connection: string, wiring: HAWiring): ResolvedModuleOptions {
  const problems = new Problems();
  const all = (typeof given === 'object' && given !== null ? given : { dsn: given ?? undefined }) as HAFactoryOptions;
  const known: Record<string, unknown> = { ...all };
  for (const key of OF_THE_MODULE) {
    if (known[key] === undefined) continue;
    problems.add(
      `option ${key} counts only beside the factory, not among what it returns: forRootAsync({ ${key}: …, useFactory })`,
    );
    delete known[key];
  }
  const options = problems.collect(() =>
    wiring.resolve({ ...known, connection } as unknown as HAModuleOptionsWithDsn, connection),
  );
  const cdc = readTargets(all.cdc, problems);
  problems.throwIfAny(titleOf({ connection }));
  return { options: options as ResolvedHAOptions, cdc, all };
}

/**
 * Refuses what would be ignored beside a factory.
 *
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function checkAsyncOptions(options: HAModuleAsyncOptions): void {
  const problems = new Problems();
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || OF_ASYNC.has(key)) continue;
    problems.add(`option ${key} does not count beside a factory: let the factory return it`);
  }
  problems.throwIfAny(titleOf(options));
}
