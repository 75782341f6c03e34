import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { OLDEST_NATS_SERVER } from './binary-pins.js';
import { natsServerError, reasonOf } from './errors.js';

const run = promisify(execFile);
const VERSION_TIMEOUT_MS = 20_000;

/** The SHA-256 of some bytes, in lower-case hex. */
export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Refuses bytes that are not the pinned ones.
 *
 * @param what Names them in the message: a path or an address.
 * @throws {HAError} HA_NATS_SERVER with both hashes in `details`.
 */
export function assertSha256(bytes: Buffer, expected: string, what: string): void {
  const actual = sha256(bytes);
  if (actual === expected) return;
  throw natsServerError(
    `${what} is refused: its SHA-256 is ${actual}, expected ${expected}. ` +
      'Delete it and fetch it again; to run a build of your own, name it in HA_NATS_SERVER.',
    { what, actual, expected },
  );
}

/**
 * Refuses a file whose content is not the pinned one.
 *
 * @throws {HAError} HA_NATS_SERVER with both hashes in `details`.
 */
export async function assertFileSha256(path: string, expected: string): Promise<void> {
  assertSha256(await readFile(path), expected, path);
}

/**
 * The version `nats-server --version` prints, for example `2.15.1`.
 *
 * @throws {HAError} HA_NATS_SERVER when it does not run, is no nats-server or is older than 2.9.
 */
export async function nativeVersion(path: string): Promise<string> {
  const output = await versionOutput(path);
  const version = /nats-server:?\s+v?(\d+\.\d+\.\d+\S*)/.exec(output)?.[1];
  if (version === undefined) {
    throw natsServerError(`${path} is no nats-server: it printed ${JSON.stringify(output.slice(0, 200))}.`, { path });
  }
  if (isOlder(version, OLDEST_NATS_SERVER)) {
    throw natsServerError(
      `${path} is nats-server ${version}; ${OLDEST_NATS_SERVER} or newer is needed. Update it, or name a newer one in HA_NATS_SERVER.`,
      { path, version },
    );
  }
  return version;
}

async function versionOutput(path: string): Promise<string> {
  try {
    const { stdout, stderr } = await run(path, ['--version'], { timeout: VERSION_TIMEOUT_MS });
    return `${stdout}${stderr}`.trim();
  } catch (error) {
    throw natsServerError(
      `${path} does not run (${reasonOf(error)}); check that it is a nats-server for ${process.platform}-${process.arch} and executable.`,
      { path },
      error,
    );
  }
}

/** Whether version `a` precedes `b`, by their three numbers; what follows them is not compared. */
export function isOlder(a: string, b: string): boolean {
  const left = numbersOf(a);
  const right = numbersOf(b);
  const at = left.findIndex((part, index) => part !== right[index]);
  return at >= 0 && (left[at] ?? 0) < (right[at] ?? 0);
}

function numbersOf(version: string): number[] {
  return [0, 1, 2].map((index) => Number.parseInt(version.split('.')[index] ?? '0', 10) || 0);
}
