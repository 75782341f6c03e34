import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, whenQuiet } from './checks.js';
import type { Check } from './checks.js';
import { Clients } from './clients.js';
import { Cluster } from './cluster.js';
import { FaultInjector } from './faults.js';
import { Ledger } from './ledger.js';
import { reportLines } from './report.js';
import { plan } from './schedule.js';
import { SCHEMA } from './schema.js';
import { readSettings } from './settings.js';
import type { ChaosSettings } from './settings.js';

const begun = performance.now();
const settings = readSettings(process.argv.slice(2));
const folder = await mkdtemp(join(tmpdir(), 'nestjs-ha-chaos-'));
const cluster = new Cluster(folder, settings.replicas, settings.leader > 0, print);
const ledger = new Ledger();
let leaving: Promise<void> | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // The exit code that a shell gives for a process which the signal ended.
  process.on(signal, () => void leave(128 + constants.signals[signal], false));
}
try {
  const sound = await run(settings);
  await leave(sound ? 0 : 1, !sound || settings.keep);
} catch (error) {
  if (leaving === undefined) print(error instanceof Error ? (error.stack ?? error.message) : String(error));
  await leave(1, true);
}

/** True where every check holds. */
async function run({ seed, clients: count, replicas, calm, leader }: ChaosSettings): Promise<boolean> {
  const title = `chaos, seed ${seed}, ${replicas} nats-server${replicas > 1 ? 's, the stream on all of them' : ''}${leader > 0 ? ', with a leader' : ''}`;
  print(title);
  await cluster.start();
  const made = await cluster.nodes[0]?.setup(SCHEMA);
  if (made?.type !== 'done') throw new Error(`The tables cannot be made: ${JSON.stringify(made)}`);
  await whenQuiet(cluster);
  const clients = new Clients(ledger, seed);
  cluster.nodes.forEach((node, index) => clients.start(node, index + 1, count));
  const started = performance.now();
  const faults = new FaultInjector(cluster, print);
  const pulse = setInterval(() => print(ledger.pulse(cluster.nodes)), 2_000);
  await sleep(calm);
  await faults.run(plan(settings), () => leaving !== undefined || isHalted());
  const seconds = (performance.now() - started) / 1_000;
  print('all is whole again; waiting for the last writes and for silence');
  await Promise.race([clients.stop(), sleep(60_000)]);
  clearInterval(pulse);
  const { last, checks } = await checked();
  const failedStarts = cluster.nodes.reduce((sum, node) => sum + node.failedStarts, 0);
  for (const line of reportLines({
    title,
    faults: faults.counts,
    failedStarts,
    seconds,
    messages: last,
    ledger,
    checks,
  })) {
    console.log(line);
  }
  return checks.every(({ problems }) => problems.length === 0);
}

async function checked(): Promise<{ last: number; checks: Check[] }> {
  let last = 0;
  const silence: string[] = [];
  try {
    last = await whenQuiet(cluster);
  } catch (error) {
    silence.push(String(error));
    last = await cluster.lastSequence();
  }
  print(`comparing at sequence ${last}`);
  const checks = await check(cluster, ledger, settings.leader > 0);
  return { last, checks: [{ name: 'every node reaches the end of the stream', problems: silence }, ...checks] };
}

function isHalted(): boolean {
  return cluster.nodes.some(({ problems }) => problems.length > 0);
}

/** Ends all processes, removes the folder unless it is wanted, and exits. */
function leave(code: number, keep: boolean): Promise<void> {
  leaving ??= (async () => {
    await cluster.close();
    if (keep) print(`The files are in ${folder}`);
    else await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    process.exit(code);
  })();
  return leaving;
}

function print(line: string): void {
  console.log(`${((performance.now() - begun) / 1_000).toFixed(1).padStart(7)} s  ${line}`);
}
