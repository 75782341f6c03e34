import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { renderConfig } from './config.js';
import { isOlder } from './binary-check.js';
import type { NatsServerBinary } from './binary.js';
import { natsServerError } from './errors.js';
import type { Guardian } from './guardian.js';
import { spawnGuarded, STOP_GRACE_MS } from './guardian.js';
import { readLines } from './line-reader.js';
import { describeHolder, probe, reachableHost } from './probe.js';
import type { ResolvedSettings } from './settings.js';

/** How a nats-server ended. */
export interface NatsExit {
  code: number | null;
  signal: string | null;
  /** Its last 50 log lines. */
  log: readonly string[];
}

/** What one run of nats-server is started with. */
export interface NatsRun {
  binary: NatsServerBinary;
  settings: ResolvedSettings;
  /** The port to listen on: that of the settings, or the one an earlier run got. */
  port: number;
  /** The lock file the guardian renews, if there is one. */
  lockFile?: string;
  log: (line: string) => void;
  /** Aborted when the server is no longer wanted: then a start under way fails at once. */
  signal?: AbortSignal;
}

interface Report {
  pid?: number;
  code?: number | null;
  signal?: string | null;
  error?: string;
}

const LOG_LINES = 50;
const POLL_MS = 20;

/** One run of nats-server under its guardian, from start to end. */
export class NatsProcess {
  /** Resolves when nats-server and its guardian are gone. Never rejects. */
  readonly exited: Promise<NatsExit>;
  /** Process id of nats-server; undefined until the guardian told it. */
  pid: number | undefined;
  /** The address and port it can be reached at. */
  host = '';
  port = 0;

  private readonly tail: string[] = [];
  private last: Report = {};
  private ended = false;

  private constructor(
    private readonly run: NatsRun,
    private readonly runDir: string,
    private readonly guardian: Guardian,
  ) {
    readLines(guardian.stdout, (line) => this.onReport(line));
    readLines(guardian.stderr, (line) => this.onLog(line));
    guardian.stdin.on('error', () => undefined);
    this.exited = new Promise((done) => {
      guardian.once('error', (error) => (this.last.error = error.message));
      guardian.once('close', () => done(this.onClose()));
    });
  }

  /**
   * Starts nats-server and waits until it answers with JetStream.
   *
   * @throws {HAError} HA_NATS_SERVER when it ends first, lacks JetStream or takes longer than `startTimeout`.
   */
  static async start(run: NatsRun): Promise<NatsProcess> {
    // mkdtemp makes a folder only this user can enter: the configuration holds the password.
    const runDir = await mkdtemp(join(tmpdir(), 'nestjs-ha-nats-'));
    const args = await writeArguments(run, runDir);
    const guardian = spawnGuarded({ bin: run.binary.path, args, runDir, lockFile: run.lockFile });
    const process = new NatsProcess(run, runDir, guardian);
    try {
      await process.ready();
      process.unref();
      return process;
    } catch (error) {
      await process.stop();
      throw error;
    }
  }

  /** Stops nats-server: SIGTERM, and SIGKILL when that took 5 s. Resolves when it is gone. Never rejects. */
  async stop(): Promise<NatsExit> {
    this.guardian.ref();
    this.guardian.stdin.end();
    const timer = setTimeout(() => this.kill(), STOP_GRACE_MS + 2_000);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
      await rm(this.runDir, { recursive: true, force: true }).catch(() => undefined);
    }
  }

  private kill(): void {
    killQuietly(this.pid);
    this.guardian.kill('SIGKILL');
  }

  private onReport(line: string): void {
    const report = JSON.parse(line) as Report;
    if (report.pid === undefined) this.last = report;
    else this.pid = report.pid;
  }

  private onLog(line: string): void {
    this.tail.push(line);
    if (this.tail.length > LOG_LINES) this.tail.shift();
    this.run.log(line);
  }

  private onClose(): NatsExit {
    this.ended = true;
    const { code, signal, error } = this.last;
    // A guardian that was killed itself reports no end and leaves its server behind.
    if (code === undefined && error === undefined) this.cleanUpAfterGuardian();
    if (error !== undefined) this.tail.push(error);
    return { code: code ?? null, signal: signal ?? null, log: this.tail };
  }

  private cleanUpAfterGuardian(): void {
    killQuietly(this.pid);
    rm(this.runDir, { recursive: true, force: true }).catch(() => undefined);
  }

  private async ready(): Promise<void> {
    const deadline = Date.now() + this.run.settings.startTimeout;
    while (Date.now() < deadline) {
      if (this.ended) throw await this.startFailure();
      if (this.run.signal?.aborted) throw natsServerError('The embedded nats-server was released while it started.');
      if (await this.answers()) return;
      await sleep(POLL_MS);
    }
    throw natsServerError(
      `nats-server did not answer within ${this.run.settings.startTimeout} ms; a large store needs a longer startTimeout.${this.logText()}`,
      { log: this.tail },
    );
  }

  /** Only the ports file tells that this very server listens: another one may answer on the port. */
  private async answers(): Promise<boolean> {
    const listener = await readPortsFile(this.runDir);
    if (!listener) return false;
    const found = await probe(listener.host, listener.port);
    if (found.kind !== 'nats') return false;
    if (!found.info.jetstream) {
      throw natsServerError(
        `The nats-server of ${this.run.settings.configFile ?? 'these settings'} runs without JetStream; enable it with a jetstream { store_dir } block.`,
        { port: listener.port },
      );
    }
    this.host = listener.host;
    this.port = listener.port;
    return true;
  }

  private async startFailure(): Promise<Error> {
    const { host, configFile } = this.run.settings;
    const { code, signal } = this.last;
    const inUse = this.tail.some((line) => /address already in use|Only one usage of each socket/.test(line));
    if (inUse && this.run.port !== 0) {
      return natsServerError(await describeHolder(host, this.run.port), { host, port: this.run.port });
    }
    const hint = configFile ? ` Check ${configFile}.` : '';
    return natsServerError(
      `nats-server ended before it was ready (code ${code ?? 'none'}, signal ${signal ?? 'none'}).${hint}${this.logText()}`,
      { code, signal, log: this.tail },
    );
  }

  private logText(): string {
    return this.tail.length === 0 ? '' : ` Its log:\n${this.tail.join('\n')}`;
  }

  // An embedded server must not keep a process alive that has nothing else to do; its end then stops the server.
  private unref(): void {
    this.guardian.unref();
    for (const stream of [this.guardian.stdin, this.guardian.stdout, this.guardian.stderr]) {
      (stream as unknown as { unref?: () => void }).unref?.();
    }
  }
}

function killQuietly(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}

async function writeArguments(run: NatsRun, runDir: string): Promise<string[]> {
  const { settings, port, binary } = run;
  if (settings.configFile !== undefined) {
    const args = ['-c', settings.configFile, '--ports_file_dir', runDir];
    return port === 0 ? args : [...args, '-p', String(port)];
  }
  const { host, name, storeDir, maxPayload, user, pass } = settings;
  const syncInterval = isOlder(binary.version, '2.10.0') ? undefined : settings.syncInterval;
  const text = renderConfig({ host, port, name, storeDir, syncInterval, maxPayload, user, pass, portsFileDir: runDir });
  const path = join(runDir, 'nats.conf');
  await writeFile(path, text, { mode: 0o600 });
  return ['-c', path];
}

async function readPortsFile(runDir: string): Promise<{ host: string; port: number } | undefined> {
  try {
    const name = (await readdir(runDir)).find((file) => file.endsWith('.ports'));
    if (name === undefined) return undefined;
    const { nats = [] } = JSON.parse(await readFile(join(runDir, name), 'utf8')) as { nats?: string[] };
    const urls = nats.map((url) => new URL(url));
    const url = urls.find(({ hostname }) => hostname === '127.0.0.1' || hostname === '0.0.0.0') ?? urls[0];
    return url && { host: reachableHost(url.hostname), port: Number(url.port) };
  } catch {
    return undefined; // The server is about to write it.
  }
}
