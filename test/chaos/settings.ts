import { parseArgs } from 'node:util';

/** What a run does, from the command line. */
export interface ChaosSettings {
  readonly kills: number;
  readonly partitions: number;
  readonly brokerRestarts: number;
  readonly pauses: number;
  /** Faults of whoever leads; more than 0 gives the cluster a leader. */
  readonly leader: number;
  readonly replicas: number;
  readonly seed: number;
  readonly clients: number;
  /** Mean time between two faults, ms. */
  readonly gap: number;
  /** Time without faults in front of the first, ms. */
  readonly calm: number;
  readonly keep: boolean;
}

const USAGE =
  'npm run chaos -- [--kills 20] [--partitions 5] [--broker-restarts 3] [--pauses 5] [--leader 0] [--replicas 1|3] [--seed N] [--clients 6] [--gap 700] [--calm 500] [--async no] [--keep]';

/** @throws Error with the usage where an argument is wrong. */
export function readSettings(args: readonly string[]): ChaosSettings {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      kills: text,
      partitions: text,
      'broker-restarts': text,
      pauses: text,
      leader: text,
      replicas: text,
      seed: text,
      clients: text,
      gap: text,
      calm: text,
      async: text,
      keep: { type: 'boolean' },
    },
  });
  const number = (value: string | undefined, missing: number): number => {
    const read = value === undefined ? missing : Number(value);
    if (Number.isSafeInteger(read) && read >= 0) return read;
    throw new Error(`'${value}' is not a number.\n${USAGE}`);
  };
  const replicas = number(values.replicas, 1);
  if (replicas !== 1 && replicas !== 3) throw new Error(`Replicas are 1 or 3.\n${USAGE}`);
  if ((values.async ?? 'no') !== 'no')
    throw new Error(`Only --async no: writes are acknowledged by the stream.\n${USAGE}`);
  return {
    kills: number(values.kills, 20),
    partitions: number(values.partitions, 5),
    brokerRestarts: number(values['broker-restarts'], 3),
    pauses: number(values.pauses, 5),
    leader: number(values.leader, 0),
    replicas,
    seed: number(values.seed, Math.floor(Math.random() * 1_000_000)),
    clients: number(values.clients, 6),
    gap: number(values.gap, 700),
    calm: number(values.calm, 500),
    keep: values.keep ?? false,
  };
}
