import { pairOn, settled } from './pairs.js';

const ORPHANED = { code: 'HA_UNDO_CONFLICT', details: { conflicts: [{ reason: 'foreignKey', table: 'p' }] } };

describe.each([
  ['a NOCASE parent and a child in other case', 'k TEXT COLLATE NOCASE PRIMARY KEY', 'TEXT', `'abc'`, `'ABC'`],
  [
    'a NOCASE parent without a rowid',
    'k TEXT COLLATE NOCASE NOT NULL PRIMARY KEY',
    'TEXT',
    `'abc'`,
    `'ABC'`,
    'WITHOUT ROWID',
  ],
  ['an RTRIM parent and a child with blanks', 'k TEXT COLLATE RTRIM UNIQUE', 'TEXT', `'abc'`, `'abc  '`],
  ['an integer parent and a child that is text', 'k INTEGER PRIMARY KEY', 'TEXT', '1', `'01'`],
  ['a text parent and a child that is an integer', 'k TEXT PRIMARY KEY', 'INTEGER', `'1'`, '1'],
])('%s', (_name, key, type, parent, child, options = '') => {
  it.each(['', ' WITHOUT ROWID'])('a parent that goes must not leave it behind%s', async (childOptions) => {
    const pair = await pairOn('memory');
    const { a } = pair;
    await a.exec(`CREATE TABLE p(${key}, v)${options};
      CREATE TABLE c(id INTEGER PRIMARY KEY, f ${type} REFERENCES p(k))${childOptions}`);
    const { txseq } = await a.run(`INSERT INTO p VALUES(${parent}, 1)`);
    await a.run(`INSERT INTO c VALUES(1, ${child})`);
    const before = await settled(pair);
    await expect(a.undo({ from: txseq as bigint, scope: 'entities' })).rejects.toMatchObject(ORPHANED);
    expect(await settled(pair)).toEqual(before);
  });
});

it('a NOCASE child in other case than its BINARY parent refers to another row', async () => {
  const pair = await pairOn('memory');
  const { a } = pair;
  await a.exec(
    `CREATE TABLE p(k TEXT PRIMARY KEY, v); CREATE TABLE c(id INTEGER PRIMARY KEY, f TEXT COLLATE NOCASE REFERENCES p(k))`,
  );
  await a.run(`INSERT INTO p VALUES('ABC', 1)`);
  const { txseq } = await a.run(`INSERT INTO p VALUES('abc', 1)`);
  await a.run(`INSERT INTO c VALUES(1, 'ABC')`);
  await a.undo({ from: txseq as bigint, scope: 'entities' });
  await settled(pair);
  expect(await a.all('SELECT k FROM p')).toEqual([{ k: 'ABC' }]);
  expect(await a.all('PRAGMA foreign_key_check')).toEqual([]);
});
