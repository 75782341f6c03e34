import { mkdir, writeFile } from 'node:fs/promises';
import { appendFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { renderConfig } from '../../lib/stream/embedded/config.js';
import type { Guardian } from '../../lib/stream/embedded/guardian.js';
import { spawnGuarded } from '../../lib/stream/embedded/guardian.js';
import { readLines } from '../../lib/stream/embedded/line-reader.js';
import { signalQuietly } from './signals.js';

export interface BrokerSettings {
  readonly binary: string;
  readonly folder: string;
  readonly name: string;
  readonly port: number;
  readonly routePort: number;
  /** Route ports of all brokers; one alone makes no cluster. */
  readonly routes: readonly number[];
  /** True for servers below 2.10, which do not know `sync_interval`. */
  readonly isOld?: boolean;
}

/** A nats-server that can be killed and started again on the same store and port. */
export class Broker {
  private guardian: Guardian | undefined;
  private pid: number | undefined;
  private closed: Promise<unknown> = Promise.resolve();

  constructor(readonly settings: BrokerSettings) {}

  get url(): string {
    return `nats://127.0.0.1:${this.settings.port}`;
  }

  async start(): Promise<void> {
    const { binary, folder, name } = this.settings;
    await mkdir(folder, { recursive: true });
    const config = join(folder, 'nats.conf');
    await writeFile(config, this.config());
    const guardian = spawnGuarded({ bin: binary, args: ['-c', config] });
    this.guardian = guardian;
    this.closed = once(guardian, 'close');
    guardian.stdin.on('error', () => undefined);
    readLines(guardian.stderr, (line) => appendFileSync(join(folder, `${name}.log`), `${line}\n`));
    this.pid = await new Promise<number>((resolve, reject) => {
      readLines(guardian.stdout, (line) => {
        const { pid } = JSON.parse(line) as { pid?: number };
        if (pid === undefined) reject(new Error(`${name} ended: ${line}`));
        else resolve(pid);
      });
    });
  }

  /** SIGKILL: what the server has written to the operating system stays. */
  async kill(): Promise<void> {
    signalQuietly(this.pid, 'SIGKILL');
    this.pid = undefined;
    await this.closed;
  }

  pause(): void {
    signalQuietly(this.pid, 'SIGSTOP');
  }

  resume(): void {
    signalQuietly(this.pid, 'SIGCONT');
  }

  async close(): Promise<void> {
    if (this.guardian === undefined) return;
    this.guardian.stdin.end();
    await this.kill();
  }

  private config(): string {
    const { folder, name, port, routePort, routes, isOld } = this.settings;
    const base = renderConfig({
      port,
      name,
      storeDir: join(folder, 'store'),
      ...(isOld === true ? {} : { syncInterval: '1s' }),
    });
    if (routes.length < 2) return base;
    const others = routes.map((route) => `"nats://127.0.0.1:${route}"`).join(', ');
    return `${base}cluster {\n  name: chaos\n  host: "127.0.0.1"\n  port: ${routePort}\n  no_advertise: true\n  routes: [${others}]\n}\n`;
  }
}
