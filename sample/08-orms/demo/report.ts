import type { Findings, Resource } from './resource.js';

const HEAD = [
  'ORM',
  'authors',
  'books',
  'requests',
  'refused',
  '503',
  'median',
  'longest',
  'nodes equal',
  'copies exact',
];

/** What was found, as a table. */
export function reportLines(resources: readonly Resource[], findings: readonly Findings[]): string[] {
  const rows = resources.map(({ name, tally }, index) => {
    const { areEqual, isExact, authors, books } = findings[index] as Findings;
    const times = tally.times.toSorted((a, b) => a - b);
    const counts = [authors, books, tally.requests, tally.refused, tally.again].map(String);
    return [name, ...counts, ms(times[times.length >> 1]), ms(times.at(-1)), yes(areEqual), yes(isExact)];
  });
  const widths = HEAD.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ');
  return [line(HEAD), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)];
}

function ms(time: number | undefined): string {
  return time === undefined ? '' : `${Math.round(time)} ms`;
}

function yes(is: boolean): string {
  return is ? 'yes' : 'NO';
}
