import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '..', 'main.js');

/** One node of the cluster, in a process of its own. */
export class Node {
  private child: ChildProcess | undefined;
  private stopping = false;

  constructor(
    readonly name: string,
    readonly port: number,
    private readonly dsn: string,
    private readonly failed: (error: Error) => void,
  ) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resolves once it listens. */
  async start(): Promise<void> {
    const env = { ...process.env, NO_COLOR: '1', PORT: String(this.port), HA_DSN: this.dsn };
    const child = fork(MAIN, { env, silent: true });
    this.child = child;
    this.stopping = false;
    let output = '';
    const listening = new Promise<void>((resolve) => {
      const read = (chunk: Buffer): void => {
        output = (output + chunk.toString()).slice(-20_000);
        if (output.includes('Listening on')) resolve();
      };
      child.stdout?.on('data', read);
      child.stderr?.on('data', read);
    });
    child.once('exit', (code, signal) => {
      if (!this.stopping) this.failed(new Error(`${this.name} ended by itself (${signal ?? code}):\n${output}`));
    });
    await listening;
  }

  /** Ends its process: SIGKILL as a power cut would, SIGTERM as an operator does. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    this.stopping = true;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Whether it leads, as it says; false where it does not answer. */
  async leads(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/leader`, { signal: AbortSignal.timeout(2_000) });
      return ((await response.json()) as { leads: boolean }).leads;
    } catch {
      return false;
    }
  }
}

/** A port that is free at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
