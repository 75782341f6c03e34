import type { RowIdentify } from '../../lib/sqlite/schema.js';
import type { History } from './history.js';
import { generateHistory } from './history.js';
import { runHistory } from './run-history.js';
import type { HistoryResult } from './run-history.js';
import { showHistory } from './show.js';
import { shrink } from './shrink.js';

export interface SimulationSummary {
  readonly histories: number;
  readonly seconds: number;
  readonly writes: number;
  readonly resolved: number;
  readonly messages: number;
  readonly checks: number;
  readonly leftOut: number;
  readonly conflicts: number;
  readonly undone: number;
  readonly intercepted: number;
  readonly failures: readonly { readonly seed: number; readonly reason: string }[];
}

/** Runs histories of consecutive seeds, and stops behind `maxFailures` failures. */
export async function simulate(
  seed: number,
  count: number,
  className: string,
  maxFailures = 1,
  rowIdentify?: readonly RowIdentify[],
): Promise<SimulationSummary> {
  const started = Date.now();
  const failures: { seed: number; reason: string }[] = [];
  const sum = { writes: 0, resolved: 0, messages: 0, checks: 0, leftOut: 0, conflicts: 0, intercepted: 0, undone: 0 };
  let histories = 0;
  while (histories < count && failures.length < maxFailures) {
    const current = seed + histories++;
    const result = await attempt(generateHistory(current, className, rowIdentify));
    if (typeof result === 'string') failures.push({ seed: current, reason: result });
    else for (const key of Object.keys(sum) as (keyof HistoryResult)[]) sum[key] += result[key];
  }
  return { histories, seconds: (Date.now() - started) / 1_000, ...sum, failures };
}

/** Shrinks the failing history of a seed and describes it. */
export async function explain(seed: number, className: string, rowIdentify?: readonly RowIdentify[]): Promise<string> {
  const history = generateHistory(seed, className, rowIdentify);
  const reason = await attempt(history);
  if (typeof reason !== 'string') return `seed ${seed} of class ${className} does not fail again`;
  const kind = kindOf(reason);
  const small = await shrink(history, async (candidate) => {
    const other = await attempt(candidate);
    return typeof other === 'string' && kindOf(other) === kind;
  });
  const shown = await attempt(small);
  return `${typeof shown === 'string' ? shown : ''}\n${showHistory(small)}`;
}

/** What came of a history, or why it failed. */
async function attempt(history: History): Promise<HistoryResult | string> {
  try {
    return await runHistory(history);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Reasons of one kind differ in numbers only. */
function kindOf(reason: string): string {
  return (reason.split('\n')[0] ?? '').replaceAll(/\d+|mark-\S+|\(without mark\)/g, '#').slice(0, 60);
}

/** One line for people. */
export function describe(summary: SimulationSummary, className: string, seed: number): string {
  const { histories, seconds, writes, resolved, messages, checks, leftOut, conflicts, intercepted, undone, failures } =
    summary;
  return (
    `${className}: ${histories} histories (seeds ${seed} to ${seed + histories - 1}), ${writes} writes (${resolved} acknowledged), ` +
    `${messages} messages, ${checks} comparisons with the fold, ${leftOut} changes left out, ${conflicts} conflicts, ${intercepted} intercepted, ${undone === 0 ? '' : `${undone} undone, `}` +
    `${failures.length} failures, ${seconds.toFixed(1)} s, ${(histories / seconds).toFixed(0)} histories/s`
  );
}
