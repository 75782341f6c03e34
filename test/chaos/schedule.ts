import { Random } from '../support/random.js';
import type { LineMode } from './line-proxy.js';
import type { ChaosSettings } from './settings.js';

export type Fault =
  /** It has to have worked so long; 0: at any instant, its start included. */
  | { readonly kind: 'kill'; readonly node: number; readonly downMs: number; readonly workMs: number }
  | {
      readonly kind: 'partition';
      readonly node: number;
      readonly mode: Exclude<LineMode, 'open'>;
      /** The lines to all servers, or to one. */
      readonly line: number | 'all';
      /** Connections that were frozen end in the end, instead of delivering what they held. */
      readonly reset: boolean;
      readonly ms: number;
    }
  | { readonly kind: 'broker restart'; readonly leader: boolean; readonly broker: number; readonly downMs: number }
  | { readonly kind: 'node pause'; readonly node: number; readonly ms: number }
  | { readonly kind: 'broker pause'; readonly leader: boolean; readonly broker: number; readonly ms: number }
  | {
      /** Something happens to whoever leads then. */
      readonly kind: 'leader';
      readonly what: (typeof LEADER_FAULTS)[number];
      readonly mode: 'cut' | 'freeze';
      readonly ms: number;
    };

/** `nats`, `followers`, `both`: the lines to them. */
const LEADER_FAULTS = ['kill', 'pause', 'nats', 'followers', 'both', 'clock'] as const;

export interface Planned {
  /** Time behind the start of the fault before, ms. */
  readonly afterMs: number;
  readonly fault: Fault;
}

export const NODES = 3;
const MODES = ['cut', 'cut', 'freeze', 'freeze-up', 'freeze-down', 'slow'] as const;

/** The faults of a run and their instants: the same for the same seed. */
export function plan(settings: ChaosSettings): Planned[] {
  const random = new Random(settings.seed);
  const faults: Fault[] = [
    ...times(settings.kills, (): Fault => ({
      kind: 'kill',
      node: random.below(NODES),
      downMs: random.below(600),
      workMs: random.below(3) === 0 ? 0 : 1 + random.below(600),
    })),
    ...times(settings.partitions, (): Fault => partition(random, settings.replicas)),
    ...times(settings.brokerRestarts, (): Fault => ({
      kind: 'broker restart',
      ...broker(random),
      downMs: random.below(1_200),
    })),
    ...times(settings.pauses, (index): Fault =>
      index % 2 === 0
        ? { kind: 'node pause', node: random.below(NODES), ms: duration(random) }
        : { kind: 'broker pause', ...broker(random), ms: duration(random) },
    ),
  ];
  for (let i = 0; i < settings.leader; i++) faults.push(leaderFault(random, i));
  for (let i = faults.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [faults[i], faults[j]] = [faults[j] as Fault, faults[i] as Fault];
  }
  return faults.map((fault) => ({ afterMs: random.below(2 * settings.gap), fault }));
}

/** Longer than a lease, mostly. */
function leaderFault(random: Random, index: number): Fault {
  const what = LEADER_FAULTS[index % LEADER_FAULTS.length] as (typeof LEADER_FAULTS)[number];
  const ms = what === 'kill' ? random.below(2_000) : 1_000 + random.below(5_000);
  return { kind: 'leader', what, mode: random.pick(['cut', 'freeze']), ms };
}

function partition(random: Random, brokers: number): Fault {
  return {
    kind: 'partition',
    node: random.below(NODES),
    mode: random.pick(MODES),
    line: random.below(3) === 0 ? random.below(brokers) : 'all',
    reset: random.below(2) === 0,
    ms: duration(random),
  };
}

function broker(random: Random): { readonly leader: boolean; readonly broker: number } {
  return { leader: random.below(2) === 0, broker: random.below(3) };
}

/** Mostly short, now and then longer than a write waits. */
function duration(random: Random): number {
  return 100 + (random.below(6) === 0 ? 4_000 + random.below(4_000) : random.below(2_000));
}

function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
