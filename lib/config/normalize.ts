// The names that travel: other nodes, Go ones included, must derive the same subject from the same replication ID.

const MAX_LENGTH = 32;

/** The last `length` bytes of a text; a character that the cut would split is left out. */
function lastBytes(text: string, length: number): string {
  const bytes = Buffer.from(text, 'utf8');
  let start = Math.max(0, bytes.length - length);
  // 10xxxxxx is a UTF-8 continuation byte: go-ha would start in the middle of a character there, which is no valid
  // subject for other clients.
  while (((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
  return bytes.toString('utf8', start);
}

/**
 * Makes a replication ID or node name usable as one token of a NATS subject, as go-ha does: `.`, `/`, white space, `*`
 * and `>` become `_`, `_` at both ends is trimmed, and of more than 32 bytes the last 32 are kept (in this order, so a
 * cut name may start with `_`). Different IDs can become equal.
 */
export function normalizeIdentifier(id: string): string {
  // White space is Go's \s, which is ASCII only: others must give the same subject on Go and Nest nodes.
  const replaced = id.replace(/[./*>\t\n\f\r ]/g, '_');
  return lastBytes(replaced.replace(/^_+|_+$/g, ''), MAX_LENGTH);
}

/** The subject of a database: `<stream>.<normalized replication ID>`, or the stream's own name without an ID. */
export function subjectOf(stream: string, replicationID: string): string {
  const token = normalizeIdentifier(replicationID);
  return token === '' ? stream : `${stream}.${token}`;
}

/** The name go-ha gives the durable consumer of a node: both parts joined, then normalized. */
export function durableOf(replicationID: string, node: string): string {
  return normalizeIdentifier(`${replicationID}_${node}`);
}
