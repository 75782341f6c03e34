import { HAError } from '../common/ha-error.js';
import type { ResolvedHAOptions } from './resolved.js';

/** Options of the reference that this version reads, but does not act on; with what they would have to be. */
const NOT_YET: readonly (readonly [name: keyof ResolvedHAOptions, isUnset: (options: ResolvedHAOptions) => boolean])[] =
  [['leaderProvider', (o) => o.leaderProvider === undefined]];

/** Names of the options that are refused when they ask for something. */
export const UNSUPPORTED_OPTIONS = NOT_YET.map(([name]) => name);

/**
 * Refuses options that would be ignored: somebody who asks for a leader must not get a cluster without one.
 *
 * @throws HAError `HA_OPTIONS_INVALID`, naming all of them.
 */
export function refuseUnsupported(options: ResolvedHAOptions): void {
  const asked = NOT_YET.filter(([, isUnset]) => !isUnset(options)).map(([name]) => name);
  if (asked.length === 0) return;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    `This version does not support ${asked.join(', ')} yet. Leave ${asked.length === 1 ? 'it' : 'them'} out; see CHANGELOG.md for what it can do.`,
    { details: { problems: asked } },
  );
}
