import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cdcKeyJson, cdcValueJson } from '../../../lib/cdc/connect-json.js';
import { EventMaker } from '../../../lib/cdc/envelopes.js';
import type { HACDCEvent } from '../../../lib/cdc/target.js';
import { FileCDCTarget } from '../../../lib/cdc/targets/file-target.js';
import { HttpCDCTarget } from '../../../lib/cdc/targets/http-target.js';
import { kafkaBatch } from '../../../lib/cdc/targets/kafka-target.js';
import { NO_PROGRESS } from '../../../lib/cdc/effect-log.js';
import { InvalidText } from '../../../lib/changeset/changeset.js';
import type { ChangeSet, RowChange, SqlValue } from '../../../lib/changeset/changeset.js';
import { parseExactJson } from '../../../lib/changeset/exact-json.js';

const types = { id: 'INTEGER', price: 'REAL', 'odd "name"': 'ANY' };
const maker = new EventMaker({
  topicPrefix: 'shop',
  db: 'my db',
  node: 'n1',
  includeSchemaChanges: true,
  typesOf: () => types,
});

function change(operation: RowChange['operation'], before?: SqlValue[], after?: SqlValue[], pk = ['id']): HACDCEvent[] {
  const row: RowChange = {
    operation,
    database: 'main',
    table: 'items',
    columns: ['id', 'price', 'odd "name"'],
    pkColumns: pk,
    ...(before === undefined ? {} : { oldValues: before }),
    ...(after === undefined ? {} : { newValues: after }),
  };
  const set = { node: 'n2', timestampNs: 1_700_000_000_123_000_000n, changes: [row] } as unknown as ChangeSet;
  return maker.of(row, set, 42, NO_PROGRESS);
}

const big = 2n ** 62n + 1n;

describe('JSON', () => {
  it('keeps every value', () => {
    const [event] = change('INSERT', undefined, [big, 2, Buffer.from([0, 255])]);
    expect(cdcKeyJson(event as HACDCEvent)).toBe(`{"id":${big}}`);
    const json = cdcValueJson(event as HACDCEvent);
    expect(json).toContain(`"before":null,"after":{"id":${big},"price":2.0,"odd \\"name\\"":"AP8="}`);
    expect(parseExactJson(json)).toMatchObject({
      op: 'c',
      source: { connector: 'sqlite', name: 'shop', db: 'my db', table: 'items', node: 'n2', sequence: '["42","1"]' },
      transaction: { id: '42', total_order: 1n, data_collection_order: 1n },
    });
    expect(JSON.parse(json).source.ts_ms).toBe(1_700_000_000_123);
  });

  it('writes infinities as texts, TEXT that is not UTF-8 as bytes, and minus zero', () => {
    const json = (value: SqlValue): string =>
      cdcValueJson(change('INSERT', undefined, [1n, value, null])[0] as HACDCEvent);
    expect(json(Infinity)).toContain('"price":"Infinity"');
    expect(json(-Infinity)).toContain('"price":"-Infinity"');
    expect(json(-0)).toContain('"price":-0.0');
    expect(json(new InvalidText(Buffer.from([255])))).toContain('"price":"/w=="');
  });

  it('adds the schemas of Kafka Connect', () => {
    const [event] = change('UPDATE', [1n, null, 'x'], [1n, 2n, null]);
    const { schema, payload } = JSON.parse(cdcValueJson(event as HACDCEvent, { schemas: true })) as never as {
      schema: { name: string; fields: { field: string; name?: string; fields: { field: string; type: string }[] }[] };
      payload: unknown;
    };
    expect(schema.name).toBe('shop.my_db.items.Envelope');
    expect(schema.fields.map(({ field }) => field)).toEqual([
      'before',
      'after',
      'source',
      'transaction',
      'op',
      'ts_ms',
    ]);
    expect(schema.fields[0]).toMatchObject({ name: 'shop.my_db.items.Value', optional: true });
    expect(schema.fields[0]?.fields.map(({ field, type }) => [field, type])).toEqual([
      ['id', 'int64'],
      ['price', 'double'],
      ['odd "name"', 'string'],
    ]);
    expect(payload).toEqual(JSON.parse(cdcValueJson(event as HACDCEvent)));
    expect(JSON.parse(cdcKeyJson(event as HACDCEvent, { schemas: true }) ?? '')).toEqual({
      schema: {
        type: 'struct',
        fields: [{ type: 'int64', optional: false, field: 'id' }],
        optional: false,
        name: 'shop.my_db.items.Key',
      },
      payload: { id: 1 },
    });
  });
});

describe('events', () => {
  it('are two where the key changes, and have no key where the row has none', () => {
    const moved = change('UPDATE', [1n, 1, null], [2n, 1, null]);
    expect(moved.map(({ key, value }) => [key, 'op' in value && value.op, value.source.sequence])).toEqual([
      [{ id: 1n }, 'd', '["42","1"]'],
      [{ id: 2n }, 'c', '["42","2"]'],
    ]);
    expect(change('DELETE', [1n, 1, null], undefined, [])).toMatchObject([{ key: null }]);
    expect(change('DELETE', [null, 1, null])).toMatchObject([{ key: null }]);
    // 1 and 1.0 are two keys to who compares texts.
    expect(change('UPDATE', [1n, 1, null], [1, 1, null])).toHaveLength(2);
  });
});

describe('Kafka', () => {
  it('gets records by topic, a tombstone behind each delete with a key', () => {
    const events = [...change('DELETE', [1n, 1, null]), ...change('DELETE', [1n, 1, null], undefined, [])];
    const { topicMessages } = kafkaBatch(events);
    expect(topicMessages.map(({ topic }) => topic)).toEqual(['shop.my_db.items']);
    const [messages] = topicMessages.map((each) => each.messages);
    expect(messages?.map(({ key, value }) => [key, value === null])).toEqual([
      ['{"id":1}', false],
      ['{"id":1}', true],
      [null, false],
    ]);
    expect(messages?.[0]).toMatchObject({
      headers: { sequence: '["42","1"]', node: 'n2' },
      timestamp: '1700000000123',
    });
    expect(kafkaBatch(events, { tombstonesOnDelete: false }).topicMessages[0]?.messages).toHaveLength(2);
  });
});

describe('a file', () => {
  it('has a line for each event, also behind one that a crash has torn', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'cdc-file-'));
    const path = join(dir, 'events.jsonl');
    try {
      const target = new FileCDCTarget(path);
      await target.deliver(change('INSERT', undefined, [1n, 1, null]));
      appendFileSync(path, '{"topic":"sh');
      await target.deliver(change('INSERT', undefined, [2n, 1, null]));
      const lines = readFileSync(path, 'utf8').split('\n');
      expect(lines).toHaveLength(4);
      expect([lines[0], lines[2]].map((line) => (JSON.parse(line ?? '') as { key: unknown }).key)).toEqual([
        { id: 1 },
        { id: 2 },
      ]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe('HTTP', () => {
  it('posts a batch with its key, and fails where the answer is no success', async () => {
    const got: { key: unknown; body: string }[] = [];
    let status = 204;
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (data: Buffer) => (body += data.toString()));
      request.on('end', () => {
        got.push({ key: request.headers['idempotency-key'], body });
        response.writeHead(status).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const target = new HttpCDCTarget(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      const { signal } = new AbortController();
      const events = change('UPDATE', [1n, 1, null], [2n, 1, null]);
      await target.deliver(events, { signal });
      expect(got[0]?.key).toBe('["42","1"]-["42","2"]');
      expect(JSON.parse(got[0]?.body ?? '')).toMatchObject([{ value: { op: 'd' } }, { value: { op: 'c' } }]);
      status = 503;
      await expect(target.deliver(events, { signal })).rejects.toThrow(/answered 503/);
    } finally {
      server.close();
    }
  });
});
