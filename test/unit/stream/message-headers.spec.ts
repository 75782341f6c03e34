import { MsgHdrsImpl } from 'nats/lib/nats-base-client/headers.js';
import { messageHeaders } from '../../../lib/stream/jetstream/message-headers.js';

const DATA = Buffer.from('{}');

describe('headers of a message', () => {
  it('arrive as if each had been set by itself', () => {
    const message = {
      id: 'origin.7',
      data: DATA,
      chunk: 'origin.7;1/3',
      expect: { lastSubjectSequence: 41, lastMessageId: 'other.9' },
    };
    expect(read(messageHeaders(message, { batch: 'b1', place: 2, isLast: true }))).toEqual({
      'Nats-Msg-Id': 'origin.7',
      'HA-Version': '1',
      'HA-Chunk': 'origin.7;1/3',
      'Nats-Expected-Last-Subject-Sequence': '41',
      'Nats-Expected-Last-Msg-Id': 'other.9',
      'Nats-Batch-Id': 'b1',
      'Nats-Batch-Sequence': '2',
      'Nats-Batch-Commit': '1',
    });
  });

  it('say nothing of what a message does not have', () => {
    expect(read(messageHeaders({ id: 'a.1', data: DATA }))).toEqual({ 'Nats-Msg-Id': 'a.1', 'HA-Version': '1' });
    expect(read(messageHeaders({ id: 'a.1', data: DATA, expect: { lastSubjectSequence: 0 } }))).toMatchObject({
      'Nats-Expected-Last-Subject-Sequence': '0',
    });
  });
});

/** As the client of the other side reads the bytes. */
function read(list: unknown): Record<string, string> {
  const decoded = MsgHdrsImpl.decode((list as { encode(): Uint8Array }).encode());
  return Object.fromEntries(decoded.keys().map((key) => [key, decoded.get(key)]));
}
