import { formatTable } from '../../../lib/cli/format.js';
import { takeStatements } from '../../../lib/cli/statements.js';

describe('statements of a shell', () => {
  it.each([
    ['', [], ''],
    [' \n ', [], ''],
    ['SELECT 1;', ['SELECT 1'], ''],
    ['SELECT 1', [], 'SELECT 1'],
    ['SELECT 1; SELECT', ['SELECT 1'], ' SELECT'],
    [`SELECT ';'; x`, [`SELECT ';'`], ' x'],
    [`SELECT 'a`, [], `SELECT 'a`],
    ['-- a;\nSELECT 1;', ['-- a;\nSELECT 1'], ''],
    ['/* ; */', [], '/* ; */'],
    [';;SELECT 1;;', ['SELECT 1'], ''],
    ['SET DATABASE my.db;', ['SET DATABASE my.db'], ''],
    [
      'CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END; SELECT 3;',
      ['CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END', 'SELECT 3'],
      '',
    ],
    ['CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;', [], 'CREATE TRIGGER a AFTER INSERT ON t BEGIN SELECT 1;'],
  ])('are taken off %j', (text, statements, rest) => {
    expect(takeStatements(text)).toEqual({ statements, rest });
  });
});

describe('a result', () => {
  const table = {
    columns: ['id', 'a,b', 'c'],
    rows: [
      [9_007_199_254_740_993n, 'x"y', Buffer.from([0, 255])],
      [2n, 'two\nlines\u001b[31m', null],
      [-3n, '', 2],
      [4n, 'é😀', Infinity],
    ],
  };

  it('is a table that aligns numbers and cannot steer the terminal', () => {
    expect(formatTable({ ...table, columns: ['id', 't', 'c'] }, 'table').split('\n')).toEqual([
      '┌──────────────────┬────────────────────┬──────────┐',
      '│ id               │ t                  │ c        │',
      '├──────────────────┼────────────────────┼──────────┤',
      `│ 9007199254740993 │ x"y                │ x'00ff'  │`,
      String.raw`│                2 │ two\nlines\x1b[31m │ NULL     │`,
      '│               -3 │                    │ 2.0      │',
      '│                4 │ é😀                 │ Infinity │',
      '└──────────────────┴────────────────────┴──────────┘',
      '4 rows',
      '',
    ]);
  });

  it('without rows, and with one, is told so', () => {
    expect(formatTable({ columns: ['a'], rows: [] }, 'table')).toContain('0 rows');
    expect(formatTable({ columns: ['a'], rows: [[1n]] }, 'table')).toContain('1 row\n');
  });

  it('as JSON keeps the digits of integers', () => {
    expect(formatTable(table, 'json')).toBe(
      `[${[
        `{"id":9007199254740993,"a,b":"x\\"y","c":"AP8="}`,
        `{"id":2,"a,b":"two\\nlines\\u001b[31m","c":null}`,
        `{"id":-3,"a,b":"","c":2}`,
        `{"id":4,"a,b":"é😀","c":"Infinity"}`,
      ].join(',\n')}]\n`,
    );
  });

  it('as CSV is quoted where it has to be', () => {
    expect(formatTable(table, 'csv')).toBe(
      ['id,"a,b",c', '9007199254740993,"x""y",00ff', '2,"two\nlines\u001b[31m",', '-3,"",2', '4,é😀,Infinity', ''].join(
        '\r\n',
      ),
    );
  });
});
