import { durableOf, normalizeIdentifier, subjectOf } from '../../../lib/config/normalize.js';

const x = (length: number): string => 'x'.repeat(length);

it.each<[string, string]>([
  ['my.db', 'my_db'],
  ['a/b c\td*e>f', 'a_b_c_d_e_f'],
  ['.hidden.db.', 'hidden_db'],
  ['__a__b__', 'a__b'],
  ['a\\b', 'a\\b'],
  ['a\u00a0b', 'a\u00a0b'],
  ['...', ''],
  ['', ''],
  [x(32), x(32)],
  [`a${x(32)}`, x(32)],
  // Trimmed before the cut: the ending 32 keep their leading underscore.
  [`abc.${x(31)}`, `_${x(31)}`],
  [`${x(40)}___`, x(32)],
  // 32 bytes, not characters, as Go counts.
  ['é'.repeat(20), 'é'.repeat(16)],
  [`é${x(31)}`, x(31)],
])('%j becomes %j', (id, normalized) => {
  expect(normalizeIdentifier(id)).toBe(normalized);
});

it('names subjects and durable consumers', () => {
  expect(subjectOf('ha_replication', 'my.db')).toBe('ha_replication.my_db');
  expect(subjectOf('ha_replication', '')).toBe('ha_replication');
  expect(durableOf('my.db', 'node.1')).toBe('my_db_node_1');
  expect(durableOf('', 'n1')).toBe('n1');
});
