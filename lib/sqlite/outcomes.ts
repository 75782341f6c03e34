import type { Connection, Statement } from './connection.js';

/**
 * How a transaction ended, where being seen does not tell: `committed` for one that came in several messages, `aborted`
 * for one whose messages never came together, `void` where its id was taken so that it can never count, `skipped` where
 * an operator left its message out on this node.
 */
export type RecordedOutcome = 'committed' | 'aborted' | 'void' | 'skipped';

/** What a node's database knows of a transaction; `incomplete`: some of its messages are applied. */
export interface KnownOutcome {
  readonly kind: RecordedOutcome | 'incomplete';
  readonly sequence: number | undefined;
}

interface Row {
  readonly outcome: RecordedOutcome | null;
  readonly sequence: number | null;
  readonly parts: number;
  readonly seen: number;
}

const FIND = `
SELECT outcomes.outcome, outcomes.sequence,
  EXISTS(SELECT 1 FROM main.ha_chunks WHERE transaction_id = :id) AS parts,
  coalesce((SELECT hi FROM main.ha_seen WHERE origin = :origin AND lo <= :n ORDER BY lo DESC LIMIT 1) >= :n, 0) AS seen
FROM (SELECT 1) LEFT JOIN main.ha_outcomes AS outcomes ON outcomes.transaction_id = :id`;

/** Reads what became of transactions, as it is on disk: in one statement, so in one snapshot. */
export class Outcomes {
  private statement: Statement | undefined;

  constructor(private readonly reader: Connection) {}

  /** What is known of the transaction whose first message has this id; undefined where nothing of it is applied. */
  of(origin: string, n: number): KnownOutcome | undefined {
    // Compiled late: behind the control tables.
    this.statement ??= this.reader.prepare(FIND);
    const row = this.statement.get({ id: `${origin}.${n}`, origin, n: BigInt(n) }) as Row;
    if (row.outcome !== null) return { kind: row.outcome, sequence: row.sequence ?? undefined };
    if (row.seen === 0) return undefined;
    return { kind: row.parts === 0 ? 'committed' : 'incomplete', sequence: undefined };
  }
}
