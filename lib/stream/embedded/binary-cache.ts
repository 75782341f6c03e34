import { access, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { assertFileSha256 } from './binary-check.js';
import type { BinaryPin } from './binary-pins.js';
import { executableName, NATS_SERVER_VERSION } from './binary-pins.js';
import { natsServerError, reasonOf } from './errors.js';

/**
 * The cache folder of this library: `HA_CACHE_DIR`, else `nestjs-ha` in `XDG_CACHE_HOME` or `~/.cache`, on Windows in
 * `LOCALAPPDATA`.
 */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HA_CACHE_DIR) return env.HA_CACHE_DIR;
  if (process.platform === 'win32') return join(env.LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local'), 'nestjs-ha');
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'nestjs-ha');
}

/** Where the fetched executable lies in a cache folder. */
export function cachedPath(cacheDir: string): string {
  return join(cacheDir, 'nats-server', NATS_SERVER_VERSION, executableName());
}

/**
 * The path of the cached executable, or undefined when there is none.
 *
 * @throws {HAError} HA_NATS_SERVER when it is there and is not the pinned one.
 */
export async function readCache(cacheDir: string, pin: BinaryPin): Promise<string | undefined> {
  const path = cachedPath(cacheDir);
  const present = await access(path).then(
    () => true,
    () => false,
  );
  if (!present) return undefined;
  await assertFileSha256(path, pin.sha256);
  return path;
}

/**
 * Puts the executable into the cache, all or nothing: written beside its place, then renamed. Processes may do so at
 * the same time; each of them puts the same bytes.
 *
 * @returns Its path.
 * @throws {HAError} HA_NATS_SERVER when the folder is not writable.
 */
export async function writeCache(cacheDir: string, binary: Buffer, pin: BinaryPin): Promise<string> {
  const path = cachedPath(cacheDir);
  try {
    const folder = join(path, '..');
    await mkdir(folder, { recursive: true });
    const staging = await mkdtemp(join(folder, '.fetch-'));
    try {
      const staged = join(staging, executableName());
      await writeFile(staged, binary, { mode: 0o755 });
      await replace(staged, path, pin);
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
    return path;
  } catch (error) {
    throw natsServerError(
      `The cache folder ${cacheDir} is not writable (${reasonOf(error)}); name another in HA_CACHE_DIR.`,
      { cacheDir },
      error,
    );
  }
}

async function replace(staged: string, path: string, pin: BinaryPin): Promise<void> {
  try {
    await rename(staged, path);
  } catch (error) {
    // Windows refuses to replace a file that runs. Then another process put it there first: good if it is the same.
    await assertFileSha256(path, pin.sha256).catch(() => {
      throw error;
    });
  }
}
