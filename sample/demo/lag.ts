import type { NodeState } from './messages.js';

/** Puts together what the nodes saw: how long a commit on one takes until it is visible on another. */
export class LagMeter {
  /** All lags, ms; 0 where the other node was first. */
  readonly samples: number[] = [];
  private readonly probes = new Map<number, { readonly node: string; readonly time: number }>();
  private readonly seen = new Map<string, Map<number, number>>();
  private readonly newest = new Map<string, number>();

  add(node: string, { probes, applied }: NodeState): void {
    const here = this.seenBy(node);
    for (const [sequence, time] of probes) {
      this.probes.set(sequence, { node, time });
      for (const [other, seen] of this.seen) if (other !== node) this.sample(other, time, seen.get(sequence));
    }
    for (const [sequence, time] of applied) {
      here.set(sequence, time);
      const probe = this.probes.get(sequence);
      if (probe !== undefined) this.sample(node, probe.time, time);
    }
  }

  /** The newest lag of a node, ms. */
  latest(node: string): number | undefined {
    return this.newest.get(node);
  }

  private seenBy(node: string): Map<number, number> {
    const seen = this.seen.get(node) ?? new Map<number, number>();
    this.seen.set(node, seen);
    return seen;
  }

  private sample(node: string, committed: number, visible: number | undefined): void {
    if (visible === undefined) return;
    const lag = Math.max(0, visible - committed);
    this.samples.push(lag);
    this.newest.set(node, lag);
  }
}
