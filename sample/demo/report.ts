import type { Cluster } from './cluster.js';
import type { NodeResult } from './messages.js';

/** What the demo found out, as lines. */
export function reportLines({ nodes, lag }: Cluster, results: readonly NodeResult[], workMs: number): string[] {
  const commits = results.reduce((sum, result) => sum + result.commits, 0);
  const loaded = nodes.reduce((sum, { state }) => sum + state.loaded, 0);
  const edits = results[0]?.rows.edit ?? 0;
  const lags = lag.samples.toSorted(ascending);
  const times = results.flatMap(({ commitTimes }) => commitTimes).sort(ascending);
  const rows = nodes.map(({ config, state }, index) => {
    const { rows, commits, checksum } = results[index] as NodeResult;
    return [config.name, ...[rows.place, rows.edit, rows.note, commits, state.received].map(number), checksum];
  });
  return [
    ...table([['node', 'places', 'edits', 'notes', 'commits', 'position', 'checksum (SHA-256)'], ...rows]),
    '',
    `commits/s      ${number(Math.round(commits / (workMs / 1_000)))}  (${number(commits)} in ${(workMs / 1_000).toFixed(1)} s)`,
    `rows/s         ${number(Math.round((loaded + edits) / (workMs / 1_000)))}  (${number(loaded)} loaded, ${number(edits)} changed or deleted)`,
    `commit time    p50 ${ms(times, 0.5)}, p99 ${ms(times, 0.99)}`,
    `lag            p50 ${ms(lags, 0.5)}, p99 ${ms(lags, 0.99)}  (committed on one node until visible on another; ${number(lags.length)} samples)`,
    `conflicts      ${number(results[0]?.overwritten)} edits overwritten by a concurrent one; ${number(results[0]?.skipped)} changes left out`,
  ];
}

/** True where every node holds the same. */
export function areEqual(results: readonly NodeResult[]): boolean {
  return new Set(results.map(({ checksum }) => checksum)).size === 1;
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) => row.map((cell, column) => pad(cell, widths[column] ?? 0)).join('  '));
  return [lines[0] ?? '', widths.map((width) => '─'.repeat(width)).join('  '), ...lines.slice(1)];
}

function pad(cell: string, width: number): string {
  return /^[\d,]+$/.test(cell) ? cell.padStart(width) : cell.padEnd(width);
}

function ms(sorted: readonly number[], quantile: number): string {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))];
  return value === undefined ? '–' : `${value.toFixed(1)} ms`;
}

function ascending(a: number, b: number): number {
  return a - b;
}

function number(value: number | undefined): string {
  return (value ?? 0).toLocaleString('en-US');
}
