import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { checkPeer } from './peer.js';
import type { Peer } from './peer.js';

/**
 * Refuses a version of a package that the adapter does not know, also where the package keeps its package.json to itself.
 *
 * @param at Where it is looked for. Default: where this package would find it.
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function checkInstalled(peer: Peer, at: string = import.meta.url): void {
  checkPeer(peer, installedVersion(peer.name, createRequire(at)) ?? 'an unknown version');
}

/** Looks for package.json in the folders above what the package gives. */
function installedVersion(name: string, { resolve }: NodeJS.Require): string | undefined {
  for (let folder = dirname(resolve(name)); ; folder = dirname(folder)) {
    const manifest = manifestIn(folder);
    if (manifest?.name === name) return manifest.version;
    if (folder === dirname(folder)) return undefined;
  }
}

function manifestIn(folder: string): { readonly name?: string; readonly version?: string } | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: string; version?: string };
  } catch {
    return undefined;
  }
}
