import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../support/random.js';
import type { Ledger } from './ledger.js';
import type { OperationKind } from './messages.js';
import type { NodeProcess } from './node-process.js';

const WEIGHTS: Readonly<Record<OperationKind, number>> = {
  insert: 14,
  generate: 6,
  count: 4,
  bag: 10,
  crowd: 6,
  hot: 18,
  delete: 6,
  script: 4,
  multi: 8,
  replace: 6,
  transfer: 8,
  increment: 5,
  ddl: 1,
  large: 0.2,
  refused: 2,
  thrown: 1,
};
const MAX_DDL = 24;
const MAX_PAUSE_MS = 24;

/** Clients that write all the time, and keep account of what they were told. */
export class Clients {
  private stopping = false;
  private definitions = 0;
  private readonly all: Promise<void>[] = [];

  constructor(
    private readonly ledger: Ledger,
    private readonly seed: number,
  ) {}

  /** Lets several clients write through a node. */
  start(node: NodeProcess, index: number, count: number): void {
    for (let client = 0; client < count; client++) {
      this.all.push(this.write(node, `w${index}x${client}x`, new Random(this.seed * 1_000 + index * 100 + client)));
    }
  }

  /** Resolves when every write was answered. */
  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.all);
  }

  private async write(node: NodeProcess, prefix: string, random: Random): Promise<void> {
    const own: string[] = [];
    for (let n = 1; !this.stopping; n++) {
      if (!node.isReady) {
        await Promise.race([node.whenReady(), sleep(100)]);
        continue;
      }
      await this.writeOnce(node, `${prefix}${n}x`, random, own);
      await sleep(random.below(MAX_PAUSE_MS));
    }
  }

  private async writeOnce(node: NodeProcess, marker: string, random: Random, own: string[]): Promise<void> {
    const kind = this.choose(random, own.length > 0);
    const target = kind === 'refused' ? own[0] : kind === 'delete' ? own.pop() : undefined;
    const { ledger } = this;
    const name = kind === 'delete' ? `-${target}` : marker;
    const write = ledger.open(name, kind, node.config.name);
    const operation = { kind, marker, a: random.below(2 ** 31), b: random.below(2 ** 31) };
    const begun = performance.now();
    const answer = await node.run(target === undefined ? operation : { ...operation, target });
    if (answer.type === 'died') write.outcome = 'died';
    else if (answer.type === 'refused') ledger.fail(write, answer.code, answer.message, name, answer.retryable);
    else ledger.acknowledge(write, answer.sequence, answer.changes, name);
    if (answer.type !== 'died') ledger.noteLatency(performance.now() - begun, `${kind} at ${node.config.name}`);
    if (kind === 'insert' && answer.type === 'done') own.push(marker);
  }

  private choose(random: Random, hasOwn: boolean): OperationKind {
    for (;;) {
      const kind = weighted(random);
      if ((kind === 'delete' || kind === 'refused') && !hasOwn) continue;
      if (kind === 'ddl' && ++this.definitions > MAX_DDL) continue;
      return kind;
    }
  }
}

const KINDS = Object.entries(WEIGHTS) as [OperationKind, number][];
const TOTAL = KINDS.reduce((sum, [, weight]) => sum + weight, 0);

function weighted(random: Random): OperationKind {
  let at = random.next() * TOTAL;
  for (const [kind, weight] of KINDS) {
    at -= weight;
    if (at < 0) return kind;
  }
  return 'insert';
}
