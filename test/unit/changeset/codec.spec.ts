import { readFileSync } from 'node:fs';
import { InvalidText, isRowChange } from '../../../lib/changeset/changeset.js';
import type { SequenceChange, SqlValue } from '../../../lib/changeset/changeset.js';
import {
  decodeChangeSet,
  messageHead,
  messageTail,
  rowChangeHead,
  sqlChangeJson,
} from '../../../lib/changeset/codec.js';
import { encodeValues } from '../../../lib/changeset/values.js';

const origin = { node: 'no"de', processId: 1_758_574_275_000_000_001n, filename: 'my.db' };

function message(changes: readonly string[], sequences: readonly SequenceChange[] = []): string {
  return messageHead(origin) + changes.join(',') + messageTail(sequences, 42n, 1_758_574_275_504_509_677n);
}

function image(member: 'old' | 'new', values: readonly SqlValue[]): string {
  const { json, types } = encodeValues(values);
  return `"${member}_values":${json}${types === undefined ? '' : `,"${member}_types":"${types}"`}`;
}

describe('our messages', () => {
  it('round-trip the envelope', () => {
    const sequences: SequenceChange[] = [
      { table: 't"1', bump: 2n ** 62n },
      { table: 't2', set: 0n },
      { table: 't3', set: null },
    ];
    expect(decodeChangeSet(message([], sequences))).toEqual({
      ...origin,
      changes: [],
      sequences,
      epoch: 42n,
      timestampNs: 1_758_574_275_504_509_677n,
    });
    expect(JSON.parse(message([]))).not.toHaveProperty('sequences');
  });

  it('round-trip an UPDATE with every kind of value', () => {
    const columns = ['a', 'b"', 'ç', 'd', 'e', 'f'];
    const old: SqlValue[] = [null, 2n ** 63n - 1n, 2, 'x', 'y', -0];
    const now: SqlValue[] = [Infinity, 1n, -Infinity, Buffer.from([0, 255]), new InvalidText(Buffer.from([0xfe])), 'é'];
    const text = `${rowChangeHead('UPDATE', 'ta"ble', columns, ['a', 'ç'])}"old_rowid":-7,"new_rowid":${2n ** 60n},${image('old', old)},${image('new', now)},"ts_ns":1}`;
    const { changes } = decodeChangeSet(message([text]));
    expect(changes).toStrictEqual([
      {
        operation: 'UPDATE',
        database: 'main',
        table: 'ta"ble',
        columns,
        pkColumns: ['a', 'ç'],
        oldRowid: -7n,
        newRowid: 2n ** 60n,
        oldValues: old,
        newValues: now,
      },
    ]);
  });

  it('round-trip INSERT and DELETE, with and without rowid', () => {
    const insert = `${rowChangeHead('INSERT', 't', ['a'], [])}"new_rowid":1,${image('new', [1n])},"ts_ns":1}`;
    const remove = `${rowChangeHead('DELETE', 't', ['a'], ['a'])}${image('old', ['k'])},"ts_ns":1}`;
    const common = { database: 'main', table: 't', columns: ['a'] };
    expect(decodeChangeSet(message([insert, remove])).changes).toStrictEqual([
      { operation: 'INSERT', ...common, pkColumns: [], newRowid: 1n, newValues: [1n] },
      { operation: 'DELETE', ...common, pkColumns: ['a'], oldValues: ['k'] },
    ]);
  });

  it('round-trip statements', () => {
    const args: SqlValue[] = [1n, 'a', Buffer.from('b'), 2.5];
    const { changes } = decodeChangeSet(
      message([sqlChangeJson('SELECT "x"', [], 1n), sqlChangeJson('PRAGMA y', args, 2n)]),
    );
    expect(changes).toStrictEqual([
      { operation: 'SQL', command: 'SELECT "x"', args: [] },
      { operation: 'SQL', command: 'PRAGMA y', args },
    ]);
  });
});

it('reads a CUSTOM change, and fills in what go-ha leaves out', () => {
  const text =
    '{"node":"n","process_id":1,"changes":[{"operation":"CUSTOM","command":"hold","more":[1]},{"operation":"CUSTOM"}]}';
  expect(decodeChangeSet(text)).toEqual({
    node: 'n',
    processId: 1n,
    filename: '',
    changes: [
      { operation: 'CUSTOM', command: 'hold' },
      { operation: 'CUSTOM', command: '' },
    ],
    sequences: [],
    epoch: 0n,
    timestampNs: 0n,
  });
  expect(decodeChangeSet('{"changes":null}').changes).toEqual([]);
});

it.each([
  ['', /offset 0/],
  ['[]', /JSON object/],
  ['{"changes":{}}', /'changes' is not an array/],
  ['{"changes":[1]}', /a change is a JSON object/],
  ['{"changes":[{"operation":"MERGE"}]}', /unknown operation 'MERGE'/],
  ['{"changes":[{"operation":"SQL"}]}', /'command' is not text/],
  ['{"changes":[{"operation":"INSERT","columns":[]}]}', /'table' is not text/],
  ['{"changes":[{"operation":"INSERT","table":"t","columns":[1]}]}', /'columns' holds something but text/],
  [
    '{"changes":[{"operation":"INSERT","table":"t","columns":["a"],"new_values":[1],"new_types":"ib"}]}',
    /2 type letters/,
  ],
  ['{"node":1}', /'node' is not text/],
  ['{"sequences":[{"bump":1}]}', /'table' is not text/],
])('refuses %s', (text, reason) => {
  expect(() => decodeChangeSet(text)).toThrow(SyntaxError);
  expect(() => decodeChangeSet(text)).toThrow(reason);
});

describe('recorded messages of go-ha', () => {
  interface Recorded {
    readonly case: string;
    readonly messages: readonly { readonly seq: number; readonly data: string }[];
  }
  interface Loose {
    readonly node: string;
    readonly filename: string;
    readonly changes: readonly {
      readonly operation: string;
      readonly columns?: readonly string[];
      readonly old_values?: readonly unknown[];
      readonly new_values?: readonly unknown[];
    }[];
  }
  const cases = JSON.parse(readFileSync('test/data/golden/changesets.json', 'utf8')) as Recorded[];

  it('are there', () => {
    expect(cases.length).toBeGreaterThan(40);
    expect(cases.flatMap(({ messages }) => messages).length).toBeGreaterThan(100);
  });

  it.each(cases.map((one) => [one.case, one] as const))('decode: %s', (_name, { messages }) => {
    for (const { data } of messages) {
      const loose = JSON.parse(data) as Loose;
      const { node, processId, filename, changes, timestampNs, epoch, sequences } = decodeChangeSet(data);
      // Digits, not numbers: JSON.parse would round them.
      expect(String(processId)).toBe(/"process_id":(\d+)/.exec(data)?.[1]);
      expect(String(timestampNs)).toBe(/"timestamp_ns":(\d+)\}$/.exec(data)?.[1]);
      expect({ node, filename, epoch, sequences }).toEqual({
        node: loose.node,
        filename: loose.filename,
        epoch: 0n,
        sequences: [],
      });
      expect(changes.map(({ operation }) => operation)).toEqual(loose.changes.map(({ operation }) => operation));
      changes.forEach((change, index) => {
        if (!isRowChange(change)) return;
        const recorded = loose.changes[index];
        expect(change.columns).toEqual(recorded?.columns);
        expect(change.oldValues?.length ?? 0).toBe(recorded?.old_values?.length ?? 0);
        expect(change.newValues?.length ?? 0).toBe(recorded?.new_values?.length ?? 0);
      });
    }
  });
});
