import type { ChildProcessByStdio } from 'node:child_process';
import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

/** How long nats-server has for a clean stop before it is killed, in milliseconds. */
export const STOP_GRACE_MS = 5_000;

/** How often a guardian renews the lock on the store folder, in milliseconds. */
export const LOCK_BEAT_MS = 1_000;

/**
 * The program of the guardian: a process between the application and nats-server.
 *
 * An application killed with SIGKILL runs no handler, but the kernel closes its end of the guardian's stdin; the
 * guardian then stops nats-server. It ignores signals, for Ctrl-C or a service manager reaches a whole group while the
 * application still has transactions to publish: the end of stdin is the only order to stop. nats-server's log passes
 * through it, because a server that logs into the closed pipe of a dead application would die of SIGPIPE in mid-stop.
 *
 * CommonJS, self-contained. Arguments: a JSON object { runDir, lockFile }, the executable, its arguments. Writes to
 * stdout one JSON line each: { pid } when nats-server runs, then { code, signal } or { error } when it ended.
 */
export const GUARDIAN_SOURCE = `
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const [json, bin, ...args] = process.argv.slice(1);
const { runDir, lockFile } = JSON.parse(json);
let orphaned = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGBREAK']) {
  try { process.on(signal, () => {}); } catch {}
}
for (const stream of [process.stdin, process.stdout, process.stderr]) stream.on('error', () => {});
const attempt = (action) => { try { action(); } catch {} };
const child = spawn(bin, args, { stdio: ['ignore', 'ignore', 'pipe'], windowsHide: true });
const finish = (report, code) => {
  if (runDir) attempt(() => fs.rmSync(runDir, { recursive: true, force: true }));
  if (lockFile && orphaned) attempt(() => fs.rmSync(lockFile, { force: true }));
  setTimeout(() => process.exit(code), 500);
  process.stdout.write(JSON.stringify(report) + '\\n', () => process.exit(code));
};
child.stderr.on('data', (chunk) => process.stderr.write(chunk));
child.on('error', (error) => { if (child.pid === undefined) finish({ error: error.message }, 127); });
child.on('close', (code, signal) => { if (child.pid !== undefined) finish({ code, signal }, code === null ? 1 : code); });
if (child.pid !== undefined) process.stdout.write(JSON.stringify({ pid: child.pid }) + '\\n');
if (lockFile) {
  setInterval(() => attempt(() => { const now = new Date(); fs.utimesSync(lockFile, now, now); }), ${LOCK_BEAT_MS});
}
const stop = () => {
  if (orphaned) return;
  orphaned = true;
  child.kill('SIGTERM');
  setTimeout(() => child.kill('SIGKILL'), ${STOP_GRACE_MS});
};
process.stdin.on('end', stop).on('close', stop).resume();
`;

/** A guardian that was started: its stdin keeps nats-server alive, its stdout reports, its stderr is the log. */
export type Guardian = ChildProcessByStdio<Writable, Readable, Readable>;

/** What {@link spawnGuarded} runs. */
export interface GuardedCommand {
  /** Path of nats-server. */
  bin: string;
  args: readonly string[];
  /** Folder to delete when nats-server ended. */
  runDir?: string;
  /** File whose time is renewed each second, and which is deleted when the application died. */
  lockFile?: string;
}

/**
 * Starts nats-server under a guardian, in a session of its own so that Ctrl-C in the terminal reaches neither. Costs
 * the memory of one idle Node process, about 40 MB.
 */
export function spawnGuarded(command: GuardedCommand): Guardian {
  // NODE_OPTIONS may hold a loader or an inspector of the application, which the guardian must not run.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const orders = JSON.stringify({ runDir: command.runDir, lockFile: command.lockFile });
  return spawn(process.execPath, ['-e', GUARDIAN_SOURCE, '--', orders, command.bin, ...command.args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
    windowsHide: true,
    env,
  });
}
