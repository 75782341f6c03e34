import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder, until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';
import { unpack } from '../../helper/grpc-client.js';
import type { Answer, Any, ProtoSession } from '../../helper/grpc-client.js';
import { DIFFERENCES } from './golden-differences.js';

interface RecordedValue {
  readonly type_url: string;
  readonly value_hex: string;
}

interface Recorded {
  readonly session?: string;
  readonly rpc?: string;
  readonly note: string;
  readonly request: {
    readonly type: string;
    readonly sql: string;
    readonly params: readonly { readonly name: string; readonly ordinal: string; readonly value: RecordedValue }[];
    readonly replication_id: string;
  };
  readonly response?: {
    readonly result_set: { readonly columns: string[]; readonly rows: RecordedValue[][] } | null;
    readonly rows_affected: string;
    readonly last_insert_id: string;
    readonly txseq: string;
    readonly error: string;
  };
  readonly status?: { readonly code: number; readonly details: string };
}

/** An exchange as it is compared. */
export interface Exchange {
  columns?: string[] | undefined;
  /** Each row as text. */
  rows?: string[] | undefined;
  affected: string;
  id: string;
  /** Whether the sequence is that of a new transaction, of the last one that was written, or 0. */
  txseq: 'new' | 'last' | 'none';
  /** Whether it failed: texts differ between servers. */
  failed: boolean;
  status?: number;
}

const recorded = JSON.parse(readFileSync('test/data/golden/grpc.json', 'utf8')) as Recorded[];
const exchanges = recorded.filter(({ session, request }) => session !== undefined && request !== undefined);

/** A command with the sequence at which it begins. */
const FROM_SEQUENCE = /^((?:HISTORY|UNDO[ET]?) )(\d+)/;
const HISTORY_ROWS = ['seq', 'sql', 'timestamp'];

/** Reads sequences relative to what was written before. */
class Sequences {
  /** The highest so far. */
  last = 0n;

  read(txseq: string): Exchange['txseq'] {
    const value = BigInt(txseq);
    if (value === 0n) return 'none';
    const kind = value > this.last ? 'new' : 'last';
    if (value > this.last) this.last = value;
    return kind;
  }
}

function exchange(
  answer: Answer | NonNullable<Recorded['response']>,
  rows: string[] | undefined,
  sequences: Sequences,
): Exchange {
  return {
    columns: answer.result_set?.columns,
    rows,
    affected: answer.rows_affected,
    id: answer.last_insert_id,
    txseq: sequences.read(answer.txseq),
    failed: answer.error !== '',
  };
}

function recordedRows({ result_set: set }: NonNullable<Recorded['response']>): string[] | undefined {
  return comparable(
    set?.columns,
    set?.rows.map((row) => rowText(row.map(anyOf))),
  );
}

/** Of a history the types count: places, times and the SQL that is made of changes are each server's own. */
function comparable(columns: readonly string[] | undefined, rows: string[] | undefined): string[] | undefined {
  if (columns?.join() !== HISTORY_ROWS.join()) return rows;
  const types = rows?.map((row) => row.replace(/^(\w+) \d+ \| (\w+) .* \| (\w+) .*$/s, '$1 | $2 | $3'));
  return [...new Set(types)];
}

function rowText(values: readonly Any[]): string {
  const cells = values.map(unpack).map(([type, value]) => {
    if (Buffer.isBuffer(value)) return `${type} ${value.toString('hex')}`;
    return `${type} ${typeof value === 'object' ? JSON.stringify(value) : (value as number).toString()}`;
  });
  return cells.join(' | ').replaceAll('\0', '\\0');
}

/** What differs; of rows, those that only one of both has. */
function difference(wanted: Exchange, got: Exchange): Record<string, unknown> | undefined {
  const differs: Record<string, unknown> = {};
  for (const key of Object.keys({ ...wanted, ...got }) as (keyof Exchange)[]) {
    if (JSON.stringify(wanted[key]) === JSON.stringify(got[key])) continue;
    if (key !== 'rows') differs[key] = got[key];
    else {
      differs['rows'] = (got.rows ?? []).filter((row) => wanted.rows?.includes(row) !== true);
      differs['without'] = (wanted.rows ?? []).filter((row) => got.rows?.includes(row) !== true);
    }
  }
  return Object.keys(differs).length === 0 ? undefined : differs;
}

function anyOf({ type_url: url, value_hex: hex }: RecordedValue): Any {
  return { type_url: url, value: Buffer.from(hex, 'hex') };
}

/** Sends what was recorded; gives the answer, or the status that the stream ended with. */
async function replay(
  session: ProtoSession,
  { request }: Recorded,
  sequences: Sequences,
  sql = request.sql,
): Promise<Exchange> {
  const params = request.params.map(({ name, ordinal, value }) => ({ name, ordinal, value: anyOf(value) }));
  try {
    const answer = await session.ask(sql, params, request.type, request.replication_id);
    const rows = comparable(
      answer.result_set?.columns,
      answer.result_set?.rows.map(({ values }) => rowText(values)),
    );
    return exchange(answer, rows, sequences);
  } catch (error) {
    return { affected: '0', id: '0', txseq: 'none', failed: true, status: (error as { code: number }).code };
  }
}

it('answers what was recorded from go-ha as go-ha did, but for the listed differences', async () => {
  const dir = temporaryFolder();
  const app = await GrpcApp.start({
    dsn: `file:${join(dir, 'my.db')}?natsPort=0&natsStoreDir=${join(dir, 'nats')}`,
    name: 'node1',
    replicationID: 'my.db',
    grpcToken: 'secret',
  });
  const clients = {
    'missing token': app.client(),
    'wrong token': app.client({ token: 'other' }),
    'Bearer token': app.client({ token: 'Bearer secret' }),
  };
  const client = app.client({ token: 'secret' });
  const sessions = new Map<string, ProtoSession>();
  const theirs = new Sequences();
  const ours = new Sequences();
  const found: Record<string, Record<string, unknown>> = {};
  /** Where the last transaction stands there and here, for commands that name it. */
  const places = new Map<string, string>();
  let compared = 0;
  for (const [index, each] of exchanges.entries()) {
    const name = each.session ?? '';
    let session = sessions.get(name);
    if (session === undefined) {
      session = (clients[name as keyof typeof clients] ?? client).session();
      sessions.set(name, session);
    }
    const wanted: Exchange =
      each.response === undefined
        ? { affected: '0', id: '0', txseq: 'none', failed: true, status: each.status?.code ?? -1 }
        : exchange(each.response, recordedRows(each.response), theirs);
    const sql = each.request.sql.replace(FROM_SEQUENCE, (_all, verb: string, sequence: string) => {
      return `${verb}${places.get(sequence) ?? sequence}`;
    });
    const got = await replay(session, each, ours, sql);
    places.set(String(theirs.last), String(ours.last));
    compared++;
    const differs = difference(wanted, got);
    if (differs !== undefined) found[`${index} ${each.note}`] = differs;
    if (name.includes('abandoned') && exchanges[index + 1]?.session !== name) {
      const before = app.server().sessions;
      session.cancel();
      await until(() => app.server().sessions < before);
    }
  }
  expect(compared).toBe(exchanges.length);
  // UNDOE brought row 1 back as it was inserted, UNDO … WHERE row 2; UNDOT took row 3 away.
  expect(await app.db().all('SELECT id, v, b FROM u')).toEqual([
    { id: 1, v: 'a', b: Buffer.from([0, 255]) },
    { id: 2, v: 'b', b: null },
  ]);
  expect(found).toEqual(Object.assign({}, ...DIFFERENCES.map(({ answers }) => answers)));
});
