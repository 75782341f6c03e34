import type { NatsConnection } from 'nats';

/** A row change or statement as it lies in the stream. */
export interface RawChange {
  readonly operation: string;
  readonly table?: string;
  readonly columns?: readonly string[];
  readonly old_values?: readonly unknown[];
  readonly new_values?: readonly unknown[];
  readonly command?: string;
}

/** A transaction at the place of its last message. */
export interface RawTransaction {
  readonly sequence: number;
  readonly node: string;
  /** By which election its writer leads; absent where there is no leader. */
  readonly term?: number | undefined;
  readonly changes: readonly RawChange[];
}

interface RawMessage {
  readonly sequence: number;
  readonly id: string;
  readonly chunk: string;
  readonly text: string;
}

/** Reads all of a stream with nothing but the client of NATS, and joins the parts of large transactions. */
export async function* readTransactions(
  connection: NatsConnection,
  stream: string,
  last: number,
  onDuplicate: (id: string, sequence: number) => void,
): AsyncGenerator<RawTransaction> {
  const ids = new Set<string>();
  const parts = new Map<string, string[]>();
  for await (const { sequence, id, chunk, text } of readMessages(connection, stream, last)) {
    if (ids.has(id)) onDuplicate(id, sequence);
    ids.add(id);
    if (chunk === '') {
      yield transaction(sequence, [text]);
      continue;
    }
    const [whole = '', place = ''] = chunk.split(';');
    if (place === 'abort') {
      parts.delete(whole);
      continue;
    }
    const [part = 0, of = 0] = place.split('/').map(Number);
    const texts = parts.get(whole) ?? [];
    parts.set(whole, [...texts, text]);
    if (part < of) continue;
    parts.delete(whole);
    if (texts.length === of - 1) yield transaction(sequence, [...texts, text]);
  }
}

function transaction(sequence: number, texts: readonly string[]): RawTransaction {
  const sets = texts.map((text) => JSON.parse(text) as { node: string; term?: number; changes: RawChange[] });
  return { sequence, node: sets[0]?.node ?? '', term: sets[0]?.term, changes: sets.flatMap(({ changes }) => changes) };
}

async function* readMessages(connection: NatsConnection, stream: string, last: number): AsyncGenerator<RawMessage> {
  if (last === 0) return;
  const consumer = await connection.jetstream().consumers.get(stream);
  const messages = await consumer.consume({ max_messages: 256 });
  for await (const message of messages) {
    const header = (name: string): string => message.headers?.get(name) ?? '';
    yield { sequence: message.seq, id: header('Nats-Msg-Id'), chunk: header('HA-Chunk'), text: message.string() };
    if (message.seq >= last) break;
  }
  messages.stop();
}
