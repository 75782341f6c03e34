import type { Check } from './checks.js';
import type { Ledger } from './ledger.js';

const SHOWN = 12;

/** What a run was. */
export interface Summary {
  readonly title: string;
  readonly faults: ReadonlyMap<string, number>;
  readonly failedStarts: number;
  readonly seconds: number;
  readonly messages: number;
  readonly ledger: Ledger;
  readonly checks: readonly Check[];
}

/** The table at the end of a run. */
export function reportLines({ title, faults, failedStarts, seconds, messages, ledger, checks }: Summary): string[] {
  const outcomes = ledger.count();
  const acknowledged = [...ledger.writes.values()].filter(({ outcome }) => outcome === 'acknowledged').length;
  return [
    '',
    title,
    '',
    row('fault', 'times'),
    rule(),
    ...sorted(faults),
    row('starts that failed and were repeated', failedStarts),
    '',
    row('write', 'times'),
    rule(),
    ...sorted(outcomes),
    row('all', ledger.writes.size),
    '',
    row('measure', 'value'),
    rule(),
    row('time under faults', `${seconds.toFixed(1)} s`),
    row('acknowledged writes a second', Math.round(acknowledged / seconds)),
    row('longest write', `${(ledger.longestMs / 1_000).toFixed(1)} s (${ledger.longestWhat})`),
    row('messages in the stream', messages),
    '',
    row('check', 'result'),
    rule(),
    ...checks.map(({ name, problems }) => row(name, problems.length === 0 ? 'ok' : `FAILED (${problems.length})`)),
    '',
    ...checks.flatMap(details),
  ];
}

function details({ name, problems }: Check): string[] {
  if (problems.length === 0) return [];
  const more = problems.length > SHOWN ? [`  … ${problems.length - SHOWN} more`] : [];
  return [`${name}:`, ...problems.slice(0, SHOWN).map((problem) => `  ${problem}`), ...more];
}

function sorted(counts: ReadonlyMap<string, number>): string[] {
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => row(name, count));
}

function row(name: string, value: string | number): string {
  return `| ${name.padEnd(52)} | ${String(value).padEnd(28)} |`;
}

function rule(): string {
  return `| ${'-'.repeat(52)} | ${'-'.repeat(28)} |`;
}
