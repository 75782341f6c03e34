import { pairOn, settled } from './pairs.js';

/** What is undone: rows that stand, and statements that change them. */
export interface Undone {
  readonly identify: string;
  readonly schema: string;
  readonly rows: string;
  readonly change: string;
}

/** REPLACE takes a row away without a word: then old values of the whole transaction are not relied on. */
export const UNTOLD = 'CREATE TABLE r(k TEXT PRIMARY KEY, u UNIQUE)';

/** Undoes a change, then the undo, then the change by the rows that it touched; on two nodes. */
export async function undoesWholeAndInPart({ identify, schema, rows, change }: Undone): Promise<void> {
  const pair = await pairOn('memory', `rowIdentify=${identify}`);
  const { a, b } = pair;
  await a.exec(`${schema};${rows}`);
  const before = await settled(pair);
  const from = a.position().received + 1n;
  await a.exec(change);
  const wrong = await settled(pair);
  expect(wrong).not.toEqual(before);
  const { sequence } = await b.undo({ from });
  expect(await settled(pair)).toEqual(before);
  await a.undo({ from: sequence as bigint });
  expect(await settled(pair)).toEqual(wrong);
  await b.undo({ from, scope: 'entities' });
  expect(await settled(pair)).toEqual(before);
}

/** Undoes a change whose old values nobody relies on: the rows of before are rebuilt. */
export async function undoesFromRebuiltRows({ identify, schema, rows, change }: Undone): Promise<void> {
  const pair = await pairOn('memory', `rowIdentify=${identify}&_pragma=recursive_triggers(0)`);
  const { a, b } = pair;
  await a.exec(`${schema};${rows};${UNTOLD};INSERT INTO r VALUES('m', 1)`);
  const before = await settled(pair);
  const from = a.position().received + 1n;
  await a.exec(`${change};INSERT OR REPLACE INTO r VALUES('n', 1)`);
  expect(await settled(pair)).not.toEqual(before);
  await b.undo({ from });
  expect(await settled(pair)).toEqual(before);
}
