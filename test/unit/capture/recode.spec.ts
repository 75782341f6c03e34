import BetterSqlite3 from 'better-sqlite3';
import { needsRecoding, recodeValues } from '../../../lib/capture/recode.js';
import { image } from '../../../lib/capture/triggers.js';
import { InvalidText } from '../../../lib/changeset/changeset.js';
import type { SqlValue } from '../../../lib/changeset/changeset.js';
import { parseExactJson } from '../../../lib/changeset/exact-json.js';
import type { ExactJson } from '../../../lib/changeset/exact-json.js';
import { decodeValues } from '../../../lib/changeset/values.js';
import { readSchema } from '../../../lib/sqlite/schema.js';
import type { TableInfo } from '../../../lib/sqlite/schema.js';
import { Random } from '../../support/random.js';

const INVALID = Buffer.from([0x61, 0xff, 0x22, 0x5c, 0x0a, 0x62]);
let db: BetterSqlite3.Database;

beforeAll(() => {
  db = new BetterSqlite3(':memory:');
});
afterAll(() => db.close());

/** What the capture triggers write for one row. */
function captured(values: readonly SqlValue[]): Buffer {
  const names = values.map((_value, index) => `c${index}`);
  db.exec(`DROP TABLE IF EXISTS t; CREATE TABLE t(${names.join(', ')})`);
  const terms = values.map((value) => (value instanceof InvalidText ? 'CAST(? AS TEXT)' : '?'));
  const params = values.map((value) => (value instanceof InvalidText ? value.bytes : value));
  db.prepare(`INSERT INTO t VALUES(${terms.join(', ')})`).run(params);
  const table = readSchema(db).tables.get('t') as TableInfo;
  // As bytes: a JavaScript string would replace what is not valid UTF-8.
  return db
    .prepare(`SELECT CAST(${image(table, 't')} AS BLOB) FROM t`)
    .pluck()
    .get() as Buffer;
}

function decode({ json, types }: { json: string; types: string | undefined }): SqlValue[] {
  const text = Buffer.from(json, 'latin1').toString('utf8');
  return decodeValues(parseExactJson(text) as ExactJson[], types);
}

it.each<[string, SqlValue[], string | undefined]>([
  ['plain values', [null, 1n, 2.5, 'é😀'], undefined],
  ['a BLOB', [1n, Buffer.from([0, 255])], 'ib'],
  ['an empty BLOB', [Buffer.alloc(0), null], 'bn'],
  ['infinities', [Infinity, -Infinity, 2], 'pmr'],
  ['text that is not valid UTF-8', [new InvalidText(INVALID), 'é"\\'], 'ut'],
  ['text that looks like a mark', ['{"$b":"00"}', '9.0e+999', ',]}'], 'ttt'],
  ['a mark beside a BLOB', ['{"$b":"00"}', Buffer.from('x'), '}'], 'tbt'],
])('keeps %s', (_name, values, types) => {
  const recoded = recodeValues(captured(values));
  expect(decode(recoded)).toStrictEqual(values);
  if (types !== undefined && recoded.types !== undefined) expect(recoded.types).toBe(types);
});

it('leaves a piece that JSON carries by itself as it is', () => {
  const piece = Buffer.from('[1,2.0,"é",null]');
  expect(needsRecoding(piece)).toBe(false);
  expect(recodeValues(piece)).toEqual({ json: piece.toString('latin1'), types: undefined });
});

it.each(['[{"$b":"00"}]', '[9.0e+999]', '[-9.0e+999]'])('sees that %s has to be rewritten', (text) => {
  expect(needsRecoding(Buffer.from(text))).toBe(true);
});

it('keeps 2,000 random rows', () => {
  for (let seed = 1; seed <= 2_000; seed++) {
    const random = new Random(seed);
    const kinds: (() => SqlValue)[] = [
      () => null,
      () => random.int64(),
      () => random.real(),
      () => random.text(),
      () => random.bytes(random.below(9)),
      () => random.pick([Infinity, -Infinity]),
      () => new InvalidText(INVALID),
    ];
    const values = Array.from({ length: 1 + random.below(5) }, () => random.pick(kinds)());
    expect({ seed, values: decode(recodeValues(captured(values))) }).toStrictEqual({ seed, values });
  }
});
