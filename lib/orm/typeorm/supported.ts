import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { DataSource } from 'typeorm';
import { HAError } from '../../common/ha-error.js';

/** Versions whose driver and query runner are known; package.json says the same. */
const RANGE = '^0.3.20 || ^1.0.0';

/** Whether a version is in the range. */
export function isSupported(version: string): boolean {
  const [major, minor, patch] = version.split('.').map((part) => Number.parseInt(part, 10));
  return major === 1 || (major === 0 && minor === 3 && patch !== undefined && patch >= 20);
}

/** Refuses a TypeORM that the adapter does not know. */
export function refuseVersion(version: string | undefined): void {
  if (version === undefined || isSupported(version)) return;
  throw unsupported(`version ${version} is installed`, version);
}

/** Refuses a class of TypeORM that lacks what the adapter overrides. */
export function refuseWithout(object: object, methods: readonly string[]): void {
  const missing = methods.filter((name) => typeof (object as Record<string, unknown>)[name] !== 'function');
  if (missing.length > 0) throw unsupported(`${object.constructor.name} has no ${missing.join(', ')}`);
}

/** @internal */
export function unsupported(found: string, version?: string): HAError {
  return new HAError(
    'HA_OPTIONS_INVALID',
    `nestjs-ha/typeorm works with typeorm ${RANGE}; ${found}. Install one of these: npm install 'typeorm@${RANGE}'.`,
    { details: { package: 'typeorm', range: RANGE, ...(version === undefined ? {} : { version }) } },
  );
}

/**
 * The version of the copy of TypeORM that a DataSource is of; undefined where that is not the copy next to this package, or
 * where there are no packages, as in a bundle.
 */
export function versionOf(dataSource: DataSource): string | undefined {
  try {
    const load = createRequire(import.meta.url);
    const { DataSource } = load('typeorm') as { DataSource: new () => object };
    if (!(dataSource instanceof DataSource)) return undefined;
    const file = join(dirname(load.resolve('typeorm')), 'package.json');
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  } catch {
    return undefined;
  }
}
