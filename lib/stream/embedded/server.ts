import type { NatsServerBinary } from './binary.js';
import { findNatsServer } from './binary.js';
import { natsServerError } from './errors.js';
import { natsURL } from './probe.js';
import type { EmbeddedNatsSettings, ResolvedSettings } from './settings.js';
import { resolveSettings, settingsKey } from './settings.js';
import { StoreLock } from './store-lock.js';
import type { EmbeddedNatsStatus } from './supervisor.js';
import { Supervisor } from './supervisor.js';

/** A server of this process, and how many hold it. */
interface Shared {
  readonly settings: ResolvedSettings;
  readonly supervisor: Promise<Supervisor>;
  holders: number;
  /** Set once the last holder let go; whoever wants the same server waits for it. */
  stopped?: Promise<void>;
}

// A server is a thing of the process (a port, a folder), so two containers of one process have to see the same one.
const servers = new Map<string, Shared>();

/**
 * A nats-server with JetStream that runs beside this process and dies with it.
 *
 * One process starts at most one server for equal settings; each `acquire` returns a hold on it, and the last
 * `release` stops it. When it dies it is restarted with back-off on the same port. It does not keep this process alive.
 */
export class EmbeddedNatsServer {
  private releasing: Promise<void> | undefined;

  private constructor(
    private readonly key: string,
    private readonly shared: Shared,
    private readonly supervisor: Supervisor,
  ) {}

  /**
   * Starts nats-server, or joins the one this process runs with equal settings, and waits until it answers.
   *
   * @throws {HAError} HA_NATS_SERVER when a setting is wrong, no executable is found, the port or the store folder is
   * taken, or the server ends before it is ready. The message names the way out.
   */
  static async acquire(settings: EmbeddedNatsSettings = {}): Promise<EmbeddedNatsServer> {
    const resolved = resolveSettings(settings);
    const key = settingsKey(resolved);
    for (let stopped = servers.get(key)?.stopped; stopped; stopped = servers.get(key)?.stopped) await stopped;
    const shared = servers.get(key) ?? share(key, resolved, settings.log);
    shared.holders++;
    return new EmbeddedNatsServer(key, shared, await shared.supervisor);
  }

  /** `nats://host:port`, without user and password. */
  get url(): string {
    return natsURL(this.supervisor.host, this.port);
  }

  /** The port it listens on; it stays the same through restarts. */
  get port(): number {
    return this.supervisor.port;
  }

  /** User that clients give, if it asks for one. Not known with a `configFile`. */
  get user(): string | undefined {
    return this.shared.settings.configFile === undefined ? this.shared.settings.user : undefined;
  }

  /** Password that clients give, if it asks for one. Not known with a `configFile`. */
  get pass(): string | undefined {
    return this.shared.settings.configFile === undefined ? this.shared.settings.pass : undefined;
  }

  /** Process id of nats-server; it changes with a restart. */
  get pid(): number {
    return this.supervisor.pid;
  }

  /** Version of nats-server, for example `2.15.1`. */
  get version(): string {
    return this.supervisor.binary.version;
  }

  /** The executable and where it came from. */
  get binary(): NatsServerBinary {
    return this.supervisor.binary;
  }

  /** JetStream's folder. Not known with a `configFile`. */
  get storeDir(): string | undefined {
    return this.shared.settings.configFile === undefined ? this.shared.settings.storeDir : undefined;
  }

  /**
   * Calls the listener whenever the server dies, restarts, answers again or is stopped.
   *
   * @returns A function that ends it.
   */
  onStatus(listener: (status: EmbeddedNatsStatus) => void): () => void {
    return this.supervisor.onStatus(listener);
  }

  /** Lets go of the server; the last one stops it and waits for its end. A second call of one holder does nothing more. */
  release(): Promise<void> {
    this.releasing ??= this.letGo();
    return this.releasing;
  }

  private async letGo(): Promise<void> {
    if (--this.shared.holders > 0) return;
    this.shared.stopped = this.supervisor.stop().finally(() => servers.delete(this.key));
    await this.shared.stopped;
  }
}

function share(key: string, settings: ResolvedSettings, log: EmbeddedNatsSettings['log']): Shared {
  assertNoOverlap(settings);
  const supervisor = start(settings, log ?? (() => undefined));
  const shared: Shared = { settings, supervisor, holders: 0 };
  servers.set(key, shared);
  supervisor.catch(() => servers.delete(key));
  return shared;
}

async function start(settings: ResolvedSettings, log: (line: string) => void): Promise<Supervisor> {
  const binary = await findNatsServer({ path: settings.binary, log });
  log(`nats-server ${binary.version} from ${binary.path} (${binary.origin})`);
  const lock = settings.configFile === undefined ? await StoreLock.acquire(settings.storeDir) : undefined;
  return Supervisor.start(binary, settings, lock, log);
}

function assertNoOverlap(settings: ResolvedSettings): void {
  if (settings.configFile !== undefined) return;
  for (const { settings: other } of servers.values()) {
    if (other.configFile !== undefined) continue;
    if (other.port !== 0 && other.port === settings.port) throw overlap('port', settings.port);
    if (other.storeDir === settings.storeDir) throw overlap('storeDir', settings.storeDir);
  }
}

function overlap(setting: 'port' | 'storeDir', value: number | string): Error {
  return natsServerError(
    `This process already runs an embedded nats-server with ${setting} ${value} and other settings. ` +
      `Give both connections the same embedded settings to share it, or another ${setting}.`,
    { setting, value },
  );
}
