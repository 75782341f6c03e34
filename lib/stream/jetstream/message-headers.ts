import { headers } from 'nats';
import type { MsgHdrs } from 'nats';
import { WIRE_VERSION } from '../../changeset/codec.js';
import type { OutgoingMessage } from '../replication-stream.js';

/** The client asks its own headers for their bytes when it publishes. */
type Encoding = MsgHdrs & { encode(): Uint8Array };

/** A client that asks in another way gets headers that were set one by one. */
const ENCODES = typeof (headers() as Partial<Encoding>).encode === 'function';
const VERSION_LINE = `HA-Version: ${WIRE_VERSION}\r\n`;

/** A message's place in an atomic batch. */
export interface BatchPlace {
  readonly batch: string;
  /** From 1. */
  readonly place: number;
  readonly isLast: boolean;
}

/**
 * The headers of a message. Its bytes are written in one go: setting one by one, the client brings each name into its usual
 * form letter by letter, which costs ten times as much, and for each message.
 * https://docs.nats.io/reference/reference-protocols/nats-protocol#hpub
 */
export function messageHeaders(message: OutgoingMessage, batch?: BatchPlace): MsgHdrs {
  const { expect } = message;
  let lines = `Nats-Msg-Id: ${message.id}\r\n${VERSION_LINE}`;
  if (message.chunk !== undefined) lines += `HA-Chunk: ${message.chunk}\r\n`;
  if (expect?.lastSubjectSequence !== undefined) {
    lines += `Nats-Expected-Last-Subject-Sequence: ${expect.lastSubjectSequence}\r\n`;
  }
  if (expect?.lastMessageId !== undefined) lines += `Nats-Expected-Last-Msg-Id: ${expect.lastMessageId}\r\n`;
  if (batch !== undefined) lines += `Nats-Batch-Id: ${batch.batch}\r\nNats-Batch-Sequence: ${batch.place}\r\n`;
  if (batch?.isLast === true) lines += 'Nats-Batch-Commit: 1\r\n';
  return ENCODES ? written(lines) : setOneByOne(lines);
}

function written(lines: string): MsgHdrs {
  const list = headers() as Encoding;
  list.encode = () => Buffer.from(`NATS/1.0\r\n${lines}\r\n`);
  return list;
}

function setOneByOne(lines: string): MsgHdrs {
  const list = headers();
  for (const line of lines.split('\r\n').slice(0, -1)) {
    const colon = line.indexOf(': ');
    list.set(line.slice(0, colon), line.slice(colon + 2));
  }
  return list;
}
