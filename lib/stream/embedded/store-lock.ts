import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, machineId } from '../../common/machine.js';
import { natsServerError, reasonOf } from './errors.js';
import { LOCK_BEAT_MS, STOP_GRACE_MS } from './guardian.js';

/** A lock nobody renewed for so long, in milliseconds, belonged to a process that is gone. */
const STALE_MS = 5 * LOCK_BEAT_MS;

/** A lock of this machine that is so old, in milliseconds, need not be watched at all. */
const LONG_AGO_MS = 60_000;

/** How long a lock may stay in the way: that of a killed application goes once its guardian has stopped the server. */
const PATIENCE_MS = STOP_GRACE_MS + STALE_MS;

interface Holder {
  token: string;
  pid: number;
  machine: string;
}

/**
 * The lock on a store folder: two servers on one folder corrupt it, and nats-server itself does not look.
 *
 * A file that its owner and the guardian of its server touch each second. Process ids alone do not do: they start over
 * in each container, and containers may share a volume.
 */
export class StoreLock {
  private readonly timer: NodeJS.Timeout;

  private constructor(
    /** The lock file, `nestjs-ha.lock` in the folder. */
    readonly path: string,
    private readonly token: string,
  ) {
    this.timer = setInterval(() => void touch(path), LOCK_BEAT_MS).unref();
  }

  /**
   * Creates the folder where missing, and takes the lock. Waits up to 10 s for the server of a killed application to go.
   *
   * @throws {HAError} HA_NATS_SERVER when the folder is not writable or another process keeps the lock.
   */
  static async acquire(storeDir: string): Promise<StoreLock> {
    const path = join(storeDir, 'nestjs-ha.lock');
    const me: Holder = { token: randomUUID(), pid: process.pid, machine: machineId() };
    const watch = new Watch(me.machine);
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
      if (await create(storeDir, path, me)) return new StoreLock(path, me.token);
      const seen = await inspect(path);
      if (!seen) continue;
      if (watch.isStale(seen)) await remove(path, seen.holder?.token);
      else if (isKept(seen, me) || Date.now() > deadline) throw locked(storeDir, path, seen.holder);
    }
  }

  /** Gives the lock up, unless another process holds it by now. Never throws. */
  async release(): Promise<void> {
    clearInterval(this.timer);
    const seen = await inspect(this.path).catch(() => undefined);
    if (seen?.holder?.token === this.token) await rm(this.path, { force: true }).catch(() => undefined);
  }
}

interface Seen {
  holder: Holder | undefined;
  touchedAt: number;
}

/** Watches how long a lock stays untouched, by this process's clock: that of a shared volume may differ. */
class Watch {
  private touchedAt = Number.NaN;
  private since = 0;

  constructor(private readonly machine: string) {}

  isStale({ touchedAt, holder }: Seen): boolean {
    if (touchedAt !== this.touchedAt) {
      this.touchedAt = touchedAt;
      this.since = performance.now();
    }
    const longAgo = holder?.machine === this.machine && Date.now() - touchedAt > LONG_AGO_MS;
    return longAgo || performance.now() - this.since > STALE_MS;
  }
}

async function create(storeDir: string, path: string, me: Holder): Promise<boolean> {
  try {
    await mkdir(storeDir, { recursive: true });
    return await writeFile(path, JSON.stringify(me), { flag: 'wx', mode: 0o644 }).then(() => true, ifTaken);
  } catch (error) {
    throw natsServerError(
      `The store folder ${storeDir} of the embedded nats-server is not writable (${reasonOf(error)}); ` +
        'make it writable for this user, or set another storeDir.',
      { storeDir },
      error,
    );
  }
}

function ifTaken(error: NodeJS.ErrnoException): false {
  if (error.code === 'EEXIST') return false;
  throw error;
}

async function inspect(path: string): Promise<Seen | undefined> {
  try {
    const touchedAt = (await stat(path)).mtimeMs;
    return { touchedAt, holder: parse(await readFile(path, 'utf8')) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function parse(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return undefined; // Its owner is about to write it.
  }
}

/** Whether waiting is in vain: the owner lives on this machine and has renewed the lock lately. */
function isKept({ holder, touchedAt }: Seen, me: Holder): boolean {
  if (!holder || holder.machine !== me.machine || Date.now() - touchedAt > STALE_MS) return false;
  // Its own id in the file is what a restarted container finds, where ids start over: that owner is gone.
  return holder.pid !== me.pid && isAlive(holder.pid);
}

// Renaming first makes sure that of two processes which both saw a stale lock none deletes the other's fresh one.
async function remove(path: string, token: string | undefined): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
    const taken = parse(await readFile(aside, 'utf8'));
    if (taken?.token !== token) await link(aside, path);
  } catch {
    // Another process was faster; the next look tells.
  } finally {
    await rm(aside, { force: true });
  }
}

async function touch(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined);
}

function locked(storeDir: string, path: string, holder: Holder | undefined): Error {
  const who = holder ? `process ${holder.pid} of ${holder.machine.split(' ')[0]}` : 'another process';
  return natsServerError(
    `The store folder ${storeDir} is in use by the nats-server of ${who} (lock file ${path}). Two servers on one folder ` +
      'corrupt it: set another storeDir, or join that server with replicationURL.',
    { storeDir, lockFile: path, pid: holder?.pid },
  );
}
