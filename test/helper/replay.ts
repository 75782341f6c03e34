import { connect } from 'nats';
import type { Cluster } from './cluster.js';

/** A row change as it stands in a message. Values are read as JSON: take this for small integers and text only. */
export interface ReplayedChange {
  readonly operation: 'INSERT' | 'UPDATE' | 'DELETE';
  readonly table: string;
  /** The new row, or the old one where it was deleted. */
  readonly row: Readonly<Record<string, unknown>>;
}

export interface ReplayedMessage {
  readonly sequence: number;
  readonly node: string;
  readonly changes: readonly ReplayedChange[];
}

interface WireChange {
  readonly operation: string;
  readonly table?: string;
  readonly columns?: readonly string[];
  readonly old_values?: readonly unknown[];
  readonly new_values?: readonly unknown[];
}

/**
 * Reads the messages on the subject of a cluster in stream order, each id once, with nothing but a NATS client and a JSON
 * parser: what a check makes of them owes nothing to the code that it checks.
 */
export async function replay(cluster: Cluster): Promise<ReplayedMessage[]> {
  const last = await cluster.lastSequence();
  const connection = await connect({ servers: cluster.url });
  try {
    const consumer = await connection.jetstream().consumers.get(cluster.stream, { filterSubjects: cluster.subject });
    const messages: ReplayedMessage[] = [];
    const ids = new Set<string>();
    for await (const message of await consumer.consume({ max_messages: 1_000 })) {
      const id = message.headers?.get('Nats-Msg-Id') ?? '';
      if (!ids.has(id)) messages.push(parse(message.seq, message.string()));
      if (id !== '') ids.add(id);
      if (message.seq >= last) break;
    }
    return messages;
  } finally {
    await connection.close();
  }
}

function parse(sequence: number, text: string): ReplayedMessage {
  const { node, changes } = JSON.parse(text) as { node: string; changes: readonly WireChange[] };
  return { sequence, node, changes: changes.flatMap(rowChange) };
}

function rowChange({ operation, table, columns, old_values, new_values }: WireChange): ReplayedChange[] {
  if (operation !== 'INSERT' && operation !== 'UPDATE' && operation !== 'DELETE') return [];
  const values = (operation === 'DELETE' ? old_values : new_values) ?? [];
  const row = Object.fromEntries((columns ?? []).map((column, index) => [column, values[index]]));
  return [{ operation, table: table ?? '', row }];
}
