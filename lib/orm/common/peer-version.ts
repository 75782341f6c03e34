import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { HAError } from '../../common/ha-error.js';

/** The versions of a package that an adapter was built for: from the first, and below the second. */
export interface SupportedVersions {
  readonly from: string;
  readonly below: string;
}

/**
 * Refuses to work with versions of a package that the adapter was not built for.
 *
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function requireVersion(name: string, { from, below }: SupportedVersions, version = versionOf(name)): void {
  if (version !== undefined && compare(version, from) >= 0 && compare(version, below) < 0) return;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    `${name} ${version ?? 'of an unknown version'} is installed; this adapter works with ${from} and later, below ${below}. Install one of these: npm install '${name}@>=${from} <${below}'.`,
    { details: { package: name, version, from, below } },
  );
}

/** Version of the package as this library finds it; undefined where its package.json is not to be found. */
function versionOf(name: string): string | undefined {
  for (let folder = dirname(createRequire(import.meta.url).resolve(name)); ; folder = dirname(folder)) {
    const manifest = manifestIn(folder);
    if (manifest?.name === name) return manifest.version;
    if (folder === dirname(folder)) return undefined;
  }
}

function manifestIn(folder: string): { name?: string; version?: string } | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: string; version?: string };
  } catch {
    return undefined;
  }
}

/** Negative where `a` comes before `b`. A pre-release counts as the version that it leads to. */
function compare(a: string, b: string): number {
  const [left, right] = [numbers(a), numbers(b)];
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function numbers(version: string): number[] {
  return version.split(/[.+-]/).slice(0, 3).map(Number);
}
