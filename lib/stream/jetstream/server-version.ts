/**
 * The first releases whose atomic batches are safe here: 2.12.0 took no message ids in them, and until these releases a
 * change of the stream's leader could leave a part of a batch: https://github.com/nats-io/nats-server/pull/7460,
 * https://github.com/nats-io/nats-server/pull/8098. By minor version of server 2: the first patch.
 */
const FIRST_PATCHES: ReadonlyMap<number, number> = new Map([
  [12, 9],
  [14, 1],
]);
const ALL_SINCE_MINOR = 15;

/** True where a server of this version takes atomic batches, and keeps them whole. */
export function takesBatches(version: string | undefined): boolean {
  const [major = 0, minor = 0, patch = 0] = (version ?? '').split(/[.-]/).map(Number);
  if (major !== 2) return major > 2;
  return minor >= ALL_SINCE_MINOR || patch >= (FIRST_PATCHES.get(minor) ?? Infinity);
}

/**
 * True where two messages that expect the same last sequence may both be stored on a stream of several replicas. Seen on
 * 2.9.10; mended in 2.11: https://github.com/nats-io/nats-server/pull/6194
 */
export function mayBreakExpectations(version: string | undefined): boolean {
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  return major < 2 || (major === 2 && minor < 11);
}

/** True where a server of this version compresses what it stores; older ones refuse to be asked. */
export function takesCompression(version: string | undefined): boolean {
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  return major > 2 || (major === 2 && minor >= 10);
}
