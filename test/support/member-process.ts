import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileLib } from './compile-lib.js';

/** A line that a node in a process of its own says. */
export interface MemberReport {
  readonly type: 'ready' | 'failed' | 'halted' | 'done' | 'refused';
  readonly code?: string;
  readonly message?: string;
}

const SOURCE = `
import { HARuntime } from './ha-runtime.js';
import { resolveOptions } from './config/resolve.js';
import { HADatabase } from './write/ha-database.js';

const { dsn, heartbeatMs } = JSON.parse(process.env.MEMBER ?? '');
const quiet = () => undefined;
const logger = { log: quiet, warn: quiet, error: quiet, debug: quiet, verbose: quiet };
const runtime = new HARuntime(resolveOptions(dsn, {}, {}), { logger, retryAttempts: 0, retryDelay: 1, heartbeatMs });
const db = new HADatabase(runtime);
const send = (type, error) => process.connected && process.send({ type, code: error?.code, message: error?.message });
runtime.events.subscribe((event) => event.type === 'halted' && send('halted', event.error));
process.on('message', (sql) => db.exec(sql).then(() => send('done'), (error) => send('refused', error)));
process.on('disconnect', () => process.exit(1));
db.start().then(() => send('ready'), (error) => send('failed', error));
`;

/** Compiles the library for processes of its own; inside the package, so that its dependencies are found. */
export async function compileMember(): Promise<string> {
  mkdirSync('build', { recursive: true });
  const folder = mkdtempSync(join('build', 'member-'));
  await compileLib(['.'], folder);
  writeFileSync(join(folder, 'member-main.js'), SOURCE);
  return folder;
}

/** A node in a process of its own. */
export class MemberProcess {
  private readonly reports: MemberReport[] = [];
  private arrived: () => void = () => undefined;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (report: MemberReport) => {
      this.reports.push(report);
      this.arrived();
    });
    child.on('exit', () => this.arrived());
  }

  static start(folder: string, dsn: string, heartbeatMs?: number): MemberProcess {
    const env = { ...process.env, MEMBER: JSON.stringify({ dsn, heartbeatMs }) };
    return new MemberProcess(fork(join(folder, 'member-main.js'), { env, execArgv: [] }));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** The next thing that it says. */
  async next(): Promise<MemberReport> {
    for (;;) {
      const report = this.reports.shift();
      if (report !== undefined) return report;
      if (this.child.exitCode !== null || this.child.signalCode !== null) throw new Error('The process ended.');
      await new Promise<void>((resolve) => {
        this.arrived = resolve;
      });
    }
  }

  exec(sql: string): Promise<MemberReport> {
    this.child.send(sql);
    return this.next();
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Ends it without a chance to give anything back. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}

export function removeMember(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}
