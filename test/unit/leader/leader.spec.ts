import { hostname } from 'node:os';
import { announce, isResignation, readAnnouncement, tellResigned } from '../../../lib/leader/announcement.js';
import { isOwnAddress } from '../../../lib/leader/own-address.js';
import { Quorum } from '../../../lib/leader/quorum.js';
import type { MemberSighting } from '../../../lib/leader/quorum.js';
import { targetOf } from '../../../lib/leader/target.js';
import { LEADER_TIMINGS } from '../../../lib/leader/timings.js';
import { MessageEncoder } from '../../../lib/publish/message-encoder.js';
import { decodeChangeSet } from '../../../lib/changeset/codec.js';

describe('The addresses of a leader', () => {
  it.each([
    ['h:1', { grpc: 'h:1' }],
    ['http://h:1', { http: 'http://h:1' }],
    ['h:1, https://h', { grpc: 'h:1', http: 'https://h' }],
    ['https://h,grpcs://h:1', { grpc: 'grpcs://h:1', http: 'https://h' }],
    ['', {}],
  ])('%s', (text, expected) => {
    expect(targetOf(text)).toEqual({ text, ...expected });
  });

  it.each([
    ['localhost:5001', true],
    ['127.0.0.1:5001', true],
    ['[::1]:5001', true],
    [`${hostname()}:5001`, true],
    ['10.1.2.3:5001', true],
    ['localhost:5002', false],
    ['10.1.2.4:5001', false],
    ['elsewhere:5001', false],
  ])('are those of this node: %s', (address, expected) => {
    expect(isOwnAddress(address, { grpcHost: '10.1.2.3', grpcPort: 5001 })).toBe(expected);
    expect(isOwnAddress(address, { grpcHost: '10.1.2.3', grpcPort: undefined })).toBe(false);
  });
});

describe('An announcement', () => {
  it('is read as it was written, and nothing else is', () => {
    expect(readAnnouncement(announce({ term: 7, session: 'a-b' }))).toEqual({ term: 7, session: 'a-b' });
    for (const other of ['ha.hold 5', 'ha.leader', 'ha.leader x y', '', tellResigned('s')]) {
      expect(readAnnouncement(other)).toBeUndefined();
    }
    expect(isResignation(tellResigned('s'))).toBe(true);
    expect(isResignation(announce({ term: 1, session: 's' }))).toBe(false);
  });
});

describe('The times of an election', () => {
  it('let a leader stop before anybody takes over, and take over within 5 s', () => {
    const { renew, lease, takeover, look } = LEADER_TIMINGS;
    expect(3 * renew).toBeLessThan(lease);
    expect(lease * 1.2).toBeLessThan(takeover);
    expect(takeover + 2 * look).toBeLessThan(4_500);
  });
});

describe('A quorum', () => {
  it('counts those that were seen to live, by the clock of this node', async () => {
    let now = 0;
    let others: MemberSighting[] = [{ node: 'a', session: 'left over', revision: 1 }];
    const quorum = new Quorum(
      3,
      async () => others,
      1_000,
      () => now,
      () => undefined,
    );
    await quorum.start();
    quorum.stop();
    const look = async (): Promise<void> => {
      await quorum.start();
      quorum.stop();
    };
    expect([quorum.alive, quorum.needed, quorum.isThere]).toEqual([1, 2, false]);
    await look();
    expect(quorum.isThere).toBe(false);
    others = [
      { node: 'a', session: 'left over', revision: 1 },
      { node: 'b', session: 'new', revision: 2 },
    ];
    await look();
    expect([quorum.alive, quorum.isThere]).toEqual([2, true]);
    expect([quorum.isThereBut('a'), quorum.isThereBut('b')]).toEqual([true, false]);
    now += 1_700;
    expect(quorum.isThere).toBe(true);
    now += 200;
    expect(quorum.isThere).toBe(false);
    others = [{ node: 'a', session: 'left over', revision: 3 }];
    await look();
    expect([quorum.alive, quorum.isThere]).toEqual([2, true]);
  });

  it('of one needs nobody', async () => {
    const quorum = new Quorum(
      1,
      () => Promise.reject(new Error('asked')),
      1,
      () => 0,
      () => undefined,
    );
    await quorum.start();
    expect(quorum.isThere).toBe(true);
  });
});

describe('Ids that a leader publishes for others', () => {
  const origin = { node: 'n', processId: 1n, filename: 'db' };
  const content = { pieces: [Buffer.from('{"operation":"CUSTOM","command":"x"}')], sequences: [], epoch: 1 };

  it('name the transaction, also where it is cut into parts', () => {
    const encoder = new MessageEncoder('own', origin);
    const [whole] = encoder.encode({ ...content, timestampNs: 1n, id: 'other.9' }, 1_000_000);
    expect(whole?.id).toBe('other.9');
    const piece = Buffer.from(`{"operation":"CUSTOM","command":"${'x'.repeat(200)}"}`);
    const parts = encoder.encode({ ...content, pieces: [piece, piece], timestampNs: 1n, id: 'other.10' }, 450);
    expect(parts.map(({ id, chunk }) => [id, chunk])).toEqual([
      ['other.10', 'other.10;1/2'],
      ['own.1', 'other.10;2/2'],
    ]);
  });

  it('are used again where they were never published', () => {
    const encoder = new MessageEncoder('own', origin);
    const id = encoder.takeId();
    encoder.giveBackId(id);
    encoder.giveBackId('other.1');
    expect([encoder.takeId(), encoder.takeId(), encoder.lastNumber]).toEqual([id, 'own.2', 2]);
  });

  it('come with the term and the answer, which messages of others lack', () => {
    const encoder = new MessageEncoder('own', origin);
    const answer = { changes: 3, lastInsertRowid: 2n ** 62n };
    const read = (notes: object): object => {
      const [message] = encoder.encode({ ...content, timestampNs: 1n, ...notes }, 1_000_000);
      return decodeChangeSet((message?.data ?? Buffer.alloc(0)).toString());
    };
    expect(read({ term: 5, answer })).toMatchObject({ term: 5, answer });
    expect(read({ term: 0 })).toMatchObject({ term: 0 });
    expect(Object.keys(read({}))).not.toContain('term');
  });
});
