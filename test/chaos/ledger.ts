import type { OperationKind } from './messages.js';

/** What a client knows of its write. `died`: the process ended before it answered. */
export type Outcome = 'pending' | 'acknowledged' | 'failed' | 'unknown' | 'died';

export interface Write {
  readonly kind: OperationKind;
  readonly node: string;
  outcome: Outcome;
  code: string;
  /** Stream sequence that the acknowledgement named. */
  sequence: number | undefined;
}

/** Failures that may have been stored nevertheless. All others say that nothing was written. */
const MAYBE_STORED = new Set(['HA_PUBLISH_UNKNOWN']);
/** Failures that say that the write is done: its rows were lost on the way, or this node has not applied it yet. */
const STORED = new Set(['HA_RESULT_LOST', 'HA_WAIT_TIMEOUT']);
/** Nothing was written, and the caller need not be told that it may run again: it took too long. */
const TOO_LONG = new Set(['HA_TRANSACTION_TIMEOUT', 'HA_TRANSACTION_CLOSED']);
/** Codes that a caller can make something of. */
const KNOWN_CODE = /^(HA_|SQLITE_CONSTRAINT|THROWN$)/;

/** Every write of the run by its marker, with what its client was told. */
export class Ledger {
  readonly writes = new Map<string, Write>();
  /** Answers that no client should get. */
  readonly oddities: string[] = [];
  /** Failures of this library that nobody may run again. */
  readonly final: string[] = [];
  private readonly fresh = new Map<string, number>();
  longestMs = 0;
  longestWhat = '';

  open(marker: string, kind: OperationKind, node: string): Write {
    const write: Write = { kind, node, outcome: 'pending', code: '', sequence: undefined };
    this.writes.set(marker, write);
    return write;
  }

  acknowledge(write: Write, sequence: number | undefined, changes: number | undefined, marker: string): void {
    write.outcome = 'acknowledged';
    this.fresh.set(write.node, (this.fresh.get(write.node) ?? 0) + 1);
    write.sequence = sequence;
    if (changes === 0) this.oddities.push(`${marker} (${write.kind}): acknowledged, but it changed no row`);
    if (write.kind === 'refused' || write.kind === 'thrown') {
      this.oddities.push(`${marker} (${write.kind}): acknowledged, but it had to fail`);
    }
  }

  fail(write: Write, code: string, message: string, marker: string, retryable: boolean): void {
    write.code = code;
    write.outcome = STORED.has(code) ? 'acknowledged' : MAYBE_STORED.has(code) ? 'unknown' : 'failed';
    if (code.startsWith('HA_') && write.outcome === 'failed' && !retryable && !TOO_LONG.has(code)) {
      this.final.push(`${marker} (${write.kind} at ${write.node}): ${code}: ${message}`);
    }
    if (!KNOWN_CODE.test(code)) {
      write.outcome = 'unknown';
      this.oddities.push(`${marker} (${write.kind} at ${write.node}): failed with code '${code}': ${message}`);
    }
  }

  noteLatency(ms: number, what: string): void {
    if (ms <= this.longestMs) return;
    this.longestMs = ms;
    this.longestWhat = what;
  }

  /** Writes that each node has acknowledged since the last call. */
  pulse(nodes: readonly { readonly config: { readonly name: string }; readonly isReady: boolean }[]): string {
    const parts = nodes.map(
      ({ config: { name }, isReady }) => `${name} ${isReady ? '' : 'starts '}${this.fresh.get(name) ?? 0}`,
    );
    this.fresh.clear();
    return `acknowledged: ${parts.join(', ')}`;
  }

  count(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { outcome, code } of this.writes.values()) {
      const name = code === '' ? outcome : `${outcome} (${code})`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  }
}
