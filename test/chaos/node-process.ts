import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command, NodeConfig, NodeState, Report } from './messages.js';
import { signalQuietly } from './signals.js';

/** What a node answered to a write; `died` where its process ended first. */
export type Answer = Extract<Report, { type: 'done' | 'refused' }> | { readonly type: 'died' };

const DIED: Answer = { type: 'died' };
const RESTART_MS = 100;
/** A process that ends before it is ready is started again, as a supervisor would, unless it says one of these. */
const FATAL = new Set([
  'HA_STREAM_RESET',
  'HA_STREAM_GAP',
  'HA_FOREIGN_DATABASE',
  'HA_DATABASE_LOCKED',
  'HA_OPTIONS_INVALID',
  'HA_NODE_NAME_TAKEN',
  'HA_SUBJECT_TAKEN',
]);

class Gate {
  open: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/** A node across all its processes: what is killed is started again on the same file. */
export class NodeProcess {
  readonly problems: string[] = [];
  failedStarts = 0;
  private child: ChildProcess | undefined;
  private ready = new Gate();
  isReady = false;
  private closing = false;
  private counter = 0;
  private readonly pending = new Map<number, (report: Answer | Extract<Report, { type: 'state' }>) => void>();

  constructor(
    readonly config: NodeConfig,
    private readonly folder: string,
    private readonly print: (line: string) => void,
  ) {}

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Starts a process; it gets ready by itself. */
  spawn(): void {
    const log = openSync(join(this.folder, `${this.config.name}.log`), 'a');
    const env = { ...process.env, CHAOS_NODE: JSON.stringify(this.config), NO_COLOR: '1' };
    const child = fork(join(import.meta.dirname, 'node.js'), {
      env,
      stdio: ['ignore', log, log, 'ipc'],
      execArgv: ['--enable-source-maps'],
    });
    closeSync(log);
    this.child = child;
    child.on('message', (report: Report) => {
      if (this.child === child) this.receive(report);
    });
    child.on('error', (error) => this.problems.push(`${this.config.name}: ${error.message}`));
    child.on('exit', (code, signal) => this.ended(child, code, signal));
  }

  /** Resolves when there is a process to kill. */
  async whenSpawned(): Promise<void> {
    for (;;) {
      if (this.child !== undefined) return;
      await sleep(5);
    }
  }

  whenReady(): Promise<void> {
    return this.ready.opened;
  }

  /** SIGKILL, and a new process after a while. */
  kill(downMs: number): void {
    const { child } = this;
    if (child === undefined) return;
    this.forget(child);
    signalQuietly(child.pid, 'SIGKILL');
    setTimeout(() => {
      if (!this.closing) this.spawn();
    }, downMs);
  }

  async run(operation: Extract<Command, { type: 'run' }>['operation']): Promise<Answer> {
    return (await this.ask((id) => ({ type: 'run', id, operation }))) as Answer;
  }

  async setup(script: string): Promise<Answer> {
    return (await this.ask((id) => ({ type: 'setup', id, script }))) as Answer;
  }

  async state(): Promise<NodeState | undefined> {
    const answer = await this.ask((id) => ({ type: 'state', id }));
    return answer.type === 'state' ? answer.state : undefined;
  }

  /** Sets the wall clock of the process. */
  jump(ms: number): void {
    const { child } = this;
    if (child?.connected === true) child.send({ type: 'clock', ms } satisfies Command, () => undefined);
  }

  /** Closes the application as an operator would; kills what does not end in time. */
  async close(graceMs: number): Promise<void> {
    this.closing = true;
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    if (graceMs > 0 && child.connected) child.send({ type: 'close' } satisfies Command);
    const timer = setTimeout(() => {
      if (graceMs > 0) this.problems.push(`${this.config.name} did not close within ${graceMs} ms`);
      signalQuietly(child.pid, 'SIGKILL');
    }, graceMs);
    await exited;
    clearTimeout(timer);
  }

  private ask(make: (id: number) => Command): Promise<Answer | Extract<Report, { type: 'state' }>> {
    const { child } = this;
    if (child === undefined || !child.connected) return Promise.resolve(DIED);
    const id = ++this.counter;
    return new Promise((resolve) => {
      this.pending.set(id, resolve);
      child.send(make(id), (error) => {
        if (error !== null) this.answer(id, DIED);
      });
    });
  }

  private receive(report: Report): void {
    const { name } = this.config;
    if (report.type === 'ready') {
      this.isReady = true;
      this.ready.open();
    } else if (report.type === 'halted') this.problems.push(`${name} halted: ${report.message}`);
    else if (report.type === 'failed') {
      this.failedStarts++;
      this.print(`${name} could not start: ${report.code} ${report.message}`);
      if (FATAL.has(report.code)) this.problems.push(`${name} could not start: ${report.code} ${report.message}`);
    } else this.answer(report.id, report);
  }

  private answer(id: number, answer: Answer | Extract<Report, { type: 'state' }>): void {
    this.pending.get(id)?.(answer);
    this.pending.delete(id);
  }

  private forget(child: ChildProcess): void {
    if (this.child !== child) return;
    this.child = undefined;
    if (this.isReady) this.ready = new Gate();
    this.isReady = false;
    for (const id of this.pending.keys()) this.answer(id, DIED);
  }

  private ended(child: ChildProcess, code: number | null, signal: string | null): void {
    if (this.child !== child) return;
    const wasReady = this.isReady;
    this.forget(child);
    if (this.closing) return;
    if (wasReady) this.problems.push(`${this.config.name} ended by itself (${signal ?? code})`);
    setTimeout(() => {
      if (!this.closing && this.child === undefined) this.spawn();
    }, RESTART_MS);
  }
}
