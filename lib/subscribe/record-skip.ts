import type { Connection } from '../sqlite/connection.js';
import { CursorWriter, WHOLE_MESSAGE } from '../sqlite/control-tables.js';
import type { IncomingMessage } from '../stream/replication-stream.js';

/** Notes that an operator wants a message left out, and keeps what it holds. Call inside a transaction. */
export function recordSkip(db: Connection, message: IncomingMessage, error: string): void {
  const { sequence, id, chunk, version, data } = message;
  new CursorWriter(db, '').addSkipped({
    sequence,
    change: WHOLE_MESSAGE,
    node: '',
    target: id ?? '',
    operation: 'MESSAGE',
    detail: JSON.stringify({ id, chunk, version, data: Buffer.from(data).toString('utf8') }),
    error,
  });
}
