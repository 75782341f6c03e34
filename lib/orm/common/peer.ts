import { createRequire } from 'node:module';
import { HAError } from '../../common/ha-error.js';

/** A package that an adapter works with, and which versions of it. */
export interface Peer {
  readonly name: string;
  /** The lowest version that works, as `[major, minor]`. */
  readonly from: readonly [number, number];
  /** The first version that does not. */
  readonly below: readonly [number, number];
}

/**
 * Loads a file of a package whose inner files an adapter derives from, behind a check of its version: these are not part of
 * what the package promises.
 *
 * @param at Where it is looked for. Default: where this package would find it.
 * @throws HAError `HA_OPTIONS_INVALID` where it is not installed, or in a version that the adapter does not know.
 */
export function loadPeer(peer: Peer, file: string, at: string = import.meta.url): unknown {
  const load = createRequire(at);
  checkPeer(peer, versionOf(load, peer));
  return load(`${peer.name}/${file}`);
}

/** Refuses a version of a package that the adapter does not know. */
export function checkPeer(peer: Peer, version: string): void {
  const [major = Number.NaN, minor = Number.NaN] = version.split('.').map((part) => Number.parseInt(part, 10));
  const found = [major, minor] as const;
  if (!isBefore(found, peer.from) && isBefore(found, peer.below)) return;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    `The adapter works with ${peer.name} ${rangeOf(peer)}, and ${version} is installed. Install one of those: npm install '${peer.name}@${rangeOf(peer)}'.`,
    { details: { package: peer.name, version, range: rangeOf(peer) } },
  );
}

function versionOf(load: NodeJS.Require, peer: Peer): string {
  try {
    return (load(`${peer.name}/package.json`) as { version: string }).version;
  } catch (cause) {
    throw new HAError(
      'HA_OPTIONS_INVALID',
      `The adapter needs ${peer.name}, which is not installed: npm install '${peer.name}@${rangeOf(peer)}'.`,
      { cause, details: { package: peer.name, range: rangeOf(peer) } },
    );
  }
}

/** Also where a version cannot be read: a comparison with NaN is never true, so `isBefore` of its upper bound fails. */
function isBefore(a: readonly [number, number], b: readonly [number, number]): boolean {
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
}

function rangeOf({ from, below }: Peer): string {
  return `>=${from.join('.')} <${below.join('.')}`;
}
