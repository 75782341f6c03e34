import type { StatementInfo } from '../sql/statement-info.js';
import type { Step } from './interception.js';

/** A transaction whose effects are recorded. */
export interface EffectPlace {
  /** Its place in the stream. */
  readonly sequence: number;
  /** Name of the node that wrote it. */
  readonly node: string;
  /** When it was run, nanoseconds since 1970. */
  readonly timestampNs: bigint;
}

/**
 * Records what transactions of the stream really did to the rows of this node, inside the SQLite transaction that does it.
 * Absent where nobody asks for it. (lib/cdc stands behind it.)
 */
export interface EffectsPort {
  /** Runs the steps that apply a transaction, and records what they do. */
  around<R>(place: EffectPlace, steps: Generator<Step, R>): Generator<Step, R>;
  /** Records a transaction whose rows are there already; each text is a changeset, and says exactly what it did. */
  met(sequence: number, changeSets: readonly Buffer[]): void;
  /** True where effects of that place are wanted. */
  wants(sequence: number): boolean;
  /** Call behind ROLLBACK. */
  rolledBack(): void;
}

/** Stands around each statement that a peer sent. */
export interface StatementWatch {
  /** Triggers of our own would stop an ALTER TABLE. */
  before(info: StatementInfo): void;
  /** `ran` is false where every node leaves the statement out. */
  behind?(sql: string, info: StatementInfo, ran: boolean): void;
}

/** Changes that are written out already, as a changeset. */
export function changeSetText({ node, timestampNs }: Omit<EffectPlace, 'sequence'>, changes: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(`{"node":${JSON.stringify(node)},"changes":[`),
    changes,
    Buffer.from(`],"timestamp_ns":${timestampNs}}`),
  ]);
}
