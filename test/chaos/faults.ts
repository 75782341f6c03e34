import { setTimeout as sleep } from 'node:timers/promises';
import type { Broker } from './broker.js';
import type { Cluster } from './cluster.js';
import type { LineProxy } from './line-proxy.js';
import type { NodeProcess } from './node-process.js';
import type { Fault, Planned } from './schedule.js';
import { signalQuietly } from './signals.js';

/** Lets faults happen, and sees to it that each ends. Faults of different things overlap. */
export class FaultInjector {
  readonly counts = new Map<string, number>();
  private readonly running = new Set<Promise<void>>();
  private readonly turns = new Map<unknown, Promise<void>>();

  constructor(
    private readonly cluster: Cluster,
    private readonly print: (line: string) => void,
  ) {}

  /** Runs a schedule, and resolves when all faults are over. */
  async run(schedule: readonly Planned[], isAborted: () => boolean): Promise<void> {
    for (const { afterMs, fault } of schedule) {
      await sleep(afterMs);
      if (isAborted()) break;
      const { target, work } = this.prepare(fault);
      const before = this.turns.get(target) ?? Promise.resolve();
      const over = before.then(work);
      this.turns.set(target, over);
      this.running.add(over);
      over.then(
        () => this.running.delete(over),
        () => undefined,
      );
      // Not more than a few wait for their turn, or the end of the schedule would be one heap of faults.
      while (this.running.size > 4) await Promise.race(this.running);
    }
    await Promise.all(this.running);
  }

  private prepare(fault: Fault): { target: unknown; work: () => Promise<void> } {
    const { cluster } = this;
    switch (fault.kind) {
      case 'kill':
        return { target: cluster.nodes[fault.node], work: () => this.kill(fault) };
      case 'node pause':
        return { target: `pause ${fault.node}`, work: () => this.pauseNode(fault) };
      case 'partition':
        return { target: cluster.lines[fault.node], work: () => this.partition(fault) };
      case 'leader':
        return { target: 'leader', work: () => this.harmLeader(fault) };
      case 'broker pause':
      case 'broker restart':
        return { target: cluster.brokers, work: () => this.harmBroker(fault) };
    }
  }

  private note(name: string, line: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    this.print(line);
  }

  private async kill({ node, downMs, workMs }: Extract<Fault, { kind: 'kill' }>): Promise<void> {
    const process = this.cluster.nodes[node] as NodeProcess;
    if (workMs > 0) {
      await process.whenReady();
      await sleep(workMs);
    }
    await process.whenSpawned();
    this.note('kill', `SIGKILL n${node + 1}${process.isReady ? '' : ' while it starts'}, again in ${downMs} ms`);
    process.kill(downMs);
    await Promise.race([process.whenReady(), sleep(downMs + 700)]);
  }

  private async pauseNode({ node, ms }: Extract<Fault, { kind: 'node pause' }>): Promise<void> {
    const pid = this.cluster.nodes[node]?.pid;
    this.note('node pause', `SIGSTOP n${node + 1} for ${ms} ms`);
    signalQuietly(pid, 'SIGSTOP');
    await sleep(ms);
    signalQuietly(pid, 'SIGCONT');
  }

  private async harmLeader({ what, mode, ms }: Extract<Fault, { kind: 'leader' }>): Promise<void> {
    const { cluster } = this;
    const index = await cluster.leadingNode();
    const node = cluster.nodes[index] as NodeProcess;
    const how = what === 'kill' || what === 'pause' || what === 'clock' ? '' : ` (${mode})`;
    this.note(`leader ${what}${how}`, `n${index + 1} leads: ${what}${how} for ${ms} ms`);
    if (what === 'kill') {
      node.kill(ms);
      await Promise.race([node.whenReady(), sleep(ms + 700)]);
    } else if (what === 'pause') {
      const { pid } = node;
      signalQuietly(pid, 'SIGSTOP');
      await sleep(ms);
      signalQuietly(pid, 'SIGCONT');
    } else if (what === 'clock') {
      node.jump(ms % 2 === 0 ? 86_400_000 : -86_400_000);
      await sleep(ms);
      node.jump(0);
    } else {
      const lines = [
        ...(what === 'followers' ? [] : (cluster.lines[index] ?? [])),
        ...(what === 'nats' ? [] : [cluster.doors[index] as LineProxy]),
      ];
      for (const line of lines) line.set(mode);
      await sleep(ms);
      for (const line of lines) line.set('open');
    }
  }

  private async partition(fault: Extract<Fault, { kind: 'partition' }>): Promise<void> {
    const { node, mode, line, ms } = fault;
    const all = this.cluster.lines[node] ?? [];
    const lines = line === 'all' ? all : [all[line] as LineProxy];
    const reset = fault.reset && mode.startsWith('freeze');
    this.note(
      `partition (${mode})`,
      `line of n${node + 1} to ${line === 'all' ? 'all servers' : `server${line + 1}`}: ${mode} for ${ms} ms${reset ? ', then reset' : ''}`,
    );
    for (const proxy of lines) proxy.set(mode);
    await sleep(ms);
    if (reset) for (const proxy of lines) proxy.reset();
    for (const proxy of lines) proxy.set('open');
  }

  private async harmBroker(fault: Extract<Fault, { kind: 'broker restart' | 'broker pause' }>): Promise<void> {
    const { brokers } = this.cluster;
    const leader = fault.leader && brokers.length > 1 ? await this.cluster.leader() : undefined;
    const broker = brokers.find(({ settings }) => settings.name === leader) ?? brokers[fault.broker % brokers.length];
    const what = `${broker?.settings.name}${leader === undefined ? '' : ' (the leader)'}`;
    const name = leader === undefined ? fault.kind : `${fault.kind} (leader)`;
    if (fault.kind === 'broker pause') {
      this.note(name, `SIGSTOP ${what} for ${fault.ms} ms`);
      broker?.pause();
      await sleep(fault.ms);
      broker?.resume();
    } else {
      this.note(name, `SIGKILL ${what}, again in ${fault.downMs} ms`);
      await this.restart(broker as Broker, fault.downMs);
    }
    // Two of three servers at once would be more than replicas stand.
    if (brokers.length > 1) await this.cluster.whenHealthy();
  }

  private async restart(broker: Broker, downMs: number): Promise<void> {
    await broker.kill();
    await sleep(downMs);
    await broker.start();
  }
}
