/** Where our server answers otherwise than go-ha did, and why that is right. Keys are places and notes in the recording. */
export const DIFFERENCES: readonly { readonly why: string; readonly answers: Readonly<Record<string, unknown>> }[] = [
  {
    why: 'Its own clients in Python and Node send the token as Bearer.',
    answers: {
      '2 select with Bearer token': {
        failed: false,
        columns: ['1'],
        rows: ['Int64Value 1'],
        without: [],
        status: undefined,
      },
    },
  },
  {
    why: 'Infinity is a value of SQLite; go-ha cannot put it into a message.',
    answers: { '15 insert DoubleValue {"value":null}': { affected: '1', id: '10', txseq: 'new', failed: false } },
  },
  {
    why: 'A parameter of an unknown type is a mistake, and not NULL.',
    answers: { '23 insert unknown Any type': { affected: '0', id: '0', txseq: 'none', failed: true } },
  },
  {
    why: 'An empty BLOB is no NULL, and a time is stored as SQLite’s date functions read it.',
    answers: {
      '25 select every value': {
        rows: [
          'Int64Value 10 | StringValue real | DoubleValue Infinity',
          'Int64Value 15 | StringValue blob | BytesValue ',
          'Int64Value 16 | StringValue text | StringValue 2026-01-02 03:04:05.123456789+00:00',
        ],
        without: [
          'Int64Value 15 | StringValue null | Empty null',
          'Int64Value 16 | StringValue text | StringValue 2026-01-02 03:04:05.123456789 +0000 UTC',
          'Int64Value 90 | StringValue null | Empty null',
        ],
      },
    },
  },
  {
    why: 'What is stored is what arrives: text in a column declared DATETIME is text.',
    answers: {
      '29 select declared types': {
        rows: ['Int64Value 1 | StringValue 2026-01-02 03:04:05 | Int64Value 1 | DoubleValue 2'],
        without: ['Int64Value 1 | Timestamp {"seconds":"1767323045","nanos":0} | Int64Value 1 | DoubleValue 2'],
      },
    },
  },
  {
    why: 'Row 90 was refused above, so the next ids are others.',
    answers: {
      '31 insert returning': {
        rows: ['Int64Value 18 | StringValue ret'],
        without: ['Int64Value 91 | StringValue ret'],
      },
      '32 multi-row insert': { id: '20' },
      '33 update': { id: '20' },
    },
  },
  {
    why: 'A SELECT, a SAVEPOINT and a CREATE TABLE change no rows; go-ha repeats what the statement before them said.',
    answers: {
      '34 exec type with a select': { affected: '0', id: '0' },
      '47 savepoint': { affected: '0', id: '0', txseq: 'none' },
      '70 seed undo': { affected: '0', id: '0' },
    },
  },
  {
    why: 'An answer that failed has no place in the stream.',
    answers: { '37 missing table': { txseq: 'none' }, '42 SHOW DATABASES': { txseq: 'none' } },
  },
  {
    why: 'BEGIN inside a transaction fails, as in SQLite: else the inner COMMIT would end the outer transaction.',
    answers: { '44 BEGIN again': { failed: true } },
  },
  {
    why: 'Inside a transaction nothing is in the stream yet; go-ha answers the place of an earlier one.',
    answers: {
      '45 insert in tx': { txseq: 'none' },
      '46 select in tx': { txseq: 'none' },
      '48 insert after savepoint': { txseq: 'none' },
      '53 insert in tx': { txseq: 'none' },
      '57 insert in tx': { txseq: 'none' },
      '63 insert': { txseq: 'none' },
    },
  },
  {
    why: 'COMMIT without a transaction fails, as in SQLite: who sends it believes that something is stored.',
    answers: { '59 COMMIT without tx': { failed: true }, '60 END without tx': { failed: true } },
  },
  {
    why: 'COMMIT tells where the transaction stands.',
    answers: { '55 COMMIT': { txseq: 'new' } },
  },
  {
    why: 'ROLLBACK TO goes back to the savepoint only; go-ha rolls everything back, and its COMMIT says yes all the same.',
    answers: {
      '50 COMMIT after ROLLBACK TO': { txseq: 'new' },
      '51 what is left of 200 and 201': { rows: ['Int64Value 200 | StringValue tx'], without: [] },
    },
  },
  {
    why: 'An integer is an Int64Value, whoever asks. (HISTORY alone tells all that is kept; go-ha only the last transaction.)',
    answers: Object.fromEntries(
      ['65 HISTORY', '66 HISTORY 1', '67 HISTORY 10m'].map((key) => [
        key,
        { rows: ['Int64Value | StringValue | Timestamp'], without: ['UInt64Value | StringValue | Timestamp'] },
      ]),
    ),
  },
  {
    why: 'UNDO alone does not say what is meant where others write: go-ha takes back whatever came last.',
    answers: { '76 UNDO (latest)': { failed: true } },
  },
  {
    why: 'An undo tells how many rows it changed, and where it stands.',
    answers: Object.fromEntries(
      ['77 UNDOE from the update of row 1', '78 UNDO n WHERE u(2)', '79 UNDOT'].map((key) => [
        key,
        { affected: '1', txseq: 'new' },
      ]),
    ),
  },
  {
    why: 'Nothing is a statement that does nothing; go-ha resets the stream.',
    answers: Object.fromEntries([
      ...['86 empty sql, exec', '88 empty sql, unspecified', '90 comment only'].map((key) => [
        key,
        { failed: false, status: undefined },
      ]),
      ...['87 next request', '89 next request', '91 next request'].map((key) => [
        key,
        { txseq: 'last', failed: false, columns: ['1'], rows: ['Int64Value 1'], without: [], status: undefined },
      ]),
    ]) as Record<string, unknown>,
  },
  {
    why: 'A DELETE inserts nothing, and writes nothing where it finds no row; go-ha answers the sequence as the id.',
    answers: { '92 DELETE FROM with alias': { id: '212', txseq: 'none' } },
  },
];
