import { readFileSync } from 'node:fs';
import { renderOptionTable } from '../../lib/config/docs.js';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** Prettier pads the columns of Markdown tables. */
function cells(table: string): string[][] {
  return table
    .trim()
    .split('\n')
    .filter((line) => !/^\|[\s|:-]+\|$/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()));
}

describe('README', () => {
  it('holds the table of options as the specification renders it', () => {
    const [, between = ''] = /<!-- options -->(.*)<!-- \/options -->/s.exec(readme) ?? [];
    expect(cells(between)).toEqual(cells(renderOptionTable()));
  });

  it('lists every error code', () => {
    const source = readFileSync(new URL('../../lib/common/ha-error.ts', import.meta.url), 'utf8');
    const codes = [...source.matchAll(/'(HA_[A-Z_]+)'/g)].map(([, code = '']) => code);
    const [, table = ''] = /## Errors(.*)## Limits/s.exec(readme) ?? [];
    expect(codes.filter((code) => !table.includes(`\`${code}\``))).toEqual([]);
  });
});
