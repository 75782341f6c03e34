import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '..', 'main.js');
/** How much of what a node says is kept. */
const OUTPUT = 20_000;

/** One node of the sample, in a process of its own. */
export class Node {
  private child: ChildProcess | undefined;
  private output = '';
  private isStopping = false;
  /** Its address, once it has started. */
  url = '';

  constructor(
    readonly name: string,
    private readonly dsn: string,
    private readonly failed: (error: Error) => void,
  ) {}

  /** Resolves once it listens, on a free port. */
  async start(): Promise<void> {
    const env = { ...process.env, NO_COLOR: '1', PORT: '0', HA_DSN: this.dsn };
    const child = fork(MAIN, { env, silent: true });
    this.child = child;
    child.once('exit', (code, signal) => {
      if (this.isStopping) return;
      this.failed(new Error(`${this.name} ended by itself (${signal ?? code}):\n${this.output}`));
    });
    await new Promise<void>((resolve) => {
      const read = (chunk: Buffer): void => {
        this.output = (this.output + chunk.toString()).slice(-OUTPUT);
        const url = /Listening on (\S+)/.exec(this.output)?.[1];
        if (url === undefined || this.url !== '') return;
        this.url = url;
        this.output = '';
        resolve();
      };
      child.stdout?.on('data', read);
      child.stderr?.on('data', read);
    });
  }

  /** What it warned of since it listens. Before, node 2 may say that it waits for the NATS server of node 1. */
  get complaints(): string[] {
    return this.output.split('\n').filter((line) => /\b(WARN|ERROR|FATAL)\b/.test(line));
  }

  /** Ends it as an operator does: what waits is finished. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { child } = this;
    this.isStopping = true;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}
