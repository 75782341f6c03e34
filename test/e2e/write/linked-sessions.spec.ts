import type { HAError } from '../../../lib/common/ha-error.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { StreamTimeout } from '../../../lib/stream/replication-stream.js';
import type { OutgoingMessage, PublishReceipt } from '../../../lib/stream/replication-stream.js';
import { pause, temporaryFolder } from '../../helper/cluster.js';
import { counterNodes } from '../../helper/counter-nodes.js';
import type { CounterNodes } from '../../helper/counter-nodes.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import { SteeredStream } from '../../helper/steered-stream.js';

// Sessions that share a commit are linked: each message expects the one before to be the last of the stream. What may go wrong
// where messages are late.

const ROUNDS = 30;

type Setting = CounterNodes<SteeredStream>;

async function setting(): Promise<Setting> {
  const nodes = await counterNodes(SteeredStream, 1_000);
  await nodes.db.exec('CREATE TABLE n(v INT)');
  return nodes;
}

/** A message that nobody answers. */
async function lost(): Promise<PublishReceipt> {
  await pause(100);
  throw new StreamTimeout('no answer');
}

async function answerOf(answer: Promise<unknown>): Promise<{ code: string; id: string }> {
  return answer.then(
    () => ({ code: 'committed', id: '' }),
    (error: HAError) => ({ code: error.code, id: String(error.details?.['id']) }),
  );
}

interface Pair {
  /** Whether the second ran on the rows of the first. */
  readonly isShared: boolean;
  readonly answers: Promise<{ code: string; id: string }[]>;
}

/** A session, and behind it another one, or a statement. */
async function pair({ db }: Setting, second: 'session' | 'run'): Promise<Pair> {
  const first = db.connect();
  await first.execute('BEGIN');
  const session = db.connect();
  const begun = second === 'session' ? session.execute('BEGIN') : undefined;
  await first.execute(`UPDATE c SET v = 111 WHERE k = 'k'`);
  const insert = `INSERT INTO n SELECT v FROM c WHERE k = 'k'`;
  const run = second === 'run' ? answerOf(db.run(insert)) : undefined;
  const early = answerOf(first.execute('COMMIT'));
  await begun;
  let isShared = true;
  if (run === undefined) {
    await session.execute(insert);
    const { rows } = await session.execute<{ v: number }>(`SELECT v FROM n`);
    isShared = rows[0]?.v === 111;
  }
  const late = run ?? answerOf(session.execute('COMMIT'));
  return {
    isShared,
    answers: Promise.all([early, late]).finally(() => Promise.all([first.close(), session.close()])),
  };
}

/** Runs pairs on new nodes until one has shared a commit. */
async function whenShared(
  second: 'session' | 'run',
  steer: (held: OutgoingMessage[]) => SteeredStream['steer'],
  look: (setting: Setting, answers: { code: string; id: string }[], held: OutgoingMessage[]) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const nodes = await setting();
    // A session is slow at first, and then nobody joins it.
    for (let warm = 0; warm < 10; warm++) {
      await (
        await pair(nodes, second)
      ).answers;
      await nodes.db.exec(`UPDATE c SET v = 0; DELETE FROM n`);
    }
    const held: OutgoingMessage[] = [];
    nodes.stream.steer = steer(held);
    const { isShared, answers } = await pair(nodes, second);
    const told = await answers;
    nodes.stream.steer = () => undefined;
    const isLinked = held[1]?.expect?.lastMessageId === held[0]?.id && held.length === 2;
    if (!isShared || !isLinked) continue;
    await look(nodes, told, held);
    return;
  }
  throw new Error('they never shared a commit');
}

async function arriveLate({ db, other, stream }: Setting, held: readonly OutgoingMessage[]): Promise<number> {
  for (const message of held) await stream.arrive(message).catch(() => undefined);
  const { txseq = 0n } = await db.run(`INSERT INTO c VALUES('end', 0)`);
  await other.waitFor(txseq);
  expect(await other.all('SELECT * FROM c ORDER BY k')).toEqual(await db.all('SELECT * FROM c ORDER BY k'));
  const { n = NaN } = (await other.get<{ n: number }>('SELECT count(*) AS n FROM n')) ?? {};
  return n;
}

describe('sessions whose messages come late', () => {
  it('leave nothing behind that ran on what was declared void', async () => {
    await whenShared(
      'session',
      (held) => (message) => {
        if (held.length < 2) held.push(message);
        return lost();
      },
      async (nodes, [first, second], held) => {
        expect([first?.code, second?.code]).toEqual(['HA_PUBLISH_UNKNOWN', 'HA_PUBLISH_UNKNOWN']);
        expect(await nodes.db.outcome(first?.id ?? '')).toEqual({ state: 'not_committed' });
        expect(await arriveLate(nodes, held)).toBe(0);
        expect(await nodes.db.outcome(second?.id ?? '')).toEqual({ state: 'not_committed' });
        expect(await nodes.other.get(`SELECT v FROM c WHERE k = 'k'`)).toEqual({ v: 0 });
      },
    );
  });

  it.each(['session', 'run'] as const)(
    'are not told that nothing was written, nor run twice: a %s behind',
    async (kind) => {
      await whenShared(
        kind,
        (held) => (message) => {
          if (held.length < 2) {
            held.push(message);
            return lost();
          }
          // The first is not stored now either, so that the stream refuses what is behind it.
          return message.id === held[0]?.id ? lost() : undefined;
        },
        async (nodes, [first, second], held) => {
          expect([first?.code, second?.code]).toEqual(['HA_PUBLISH_UNKNOWN', 'HA_PUBLISH_UNKNOWN']);
          expect(await arriveLate(nodes, held)).toBe(1);
          expect(await nodes.db.outcome(second?.id ?? '')).toMatchObject({ state: 'committed' });
        },
      );
    },
  );
});

/** Each message takes its time on the line, and behind each somebody else's comes, on another subject. */
class BusyLine extends MemoryStream {
  sent = 0;
  isBusy = false;
  private line: Promise<unknown> = Promise.resolve();

  constructor(private readonly at: MemoryBroker) {
    super({ broker: at, ...MEMORY_STREAM, maxPayload: 20_000 });
  }

  override publish(message: OutgoingMessage): Promise<PublishReceipt> {
    if (!this.isBusy) return super.publish(message);
    const answer = this.line.then(async () => {
      this.sent++;
      const receipt = super.publish(message);
      const data = Buffer.from('x');
      this.at.append({ subject: 's.other', id: undefined, data, version: undefined, chunk: undefined });
      return receipt;
    });
    this.line = answer.catch(() => undefined).then(() => pause(2));
    return answer;
  }
}

describe('a stream on which others write all the time', () => {
  it('takes a large session as it comes, each part once', async () => {
    const broker = new MemoryBroker();
    const stream = new BusyLine(broker);
    const { db } = memoryNode('a', temporaryFolder(), stream, { publisherTimeout: 60_000 });
    await db.exec('CREATE TABLE big(k INTEGER PRIMARY KEY, v BLOB)');
    const session = db.connect();
    await session.execute('BEGIN');
    for (let n = 0; n < 60; n++) await session.execute('INSERT INTO big VALUES(?, ?)', [n, Buffer.alloc(10_000, n)]);
    stream.isBusy = true;
    await session.execute('COMMIT');
    expect(stream.sent).toBe(60);
    await session.close();
  });

  it('takes many small ones with few repetitions', async () => {
    const broker = new MemoryBroker();
    const stream = new BusyLine(broker);
    const { db } = memoryNode('a', temporaryFolder(), stream, { publisherTimeout: 60_000 });
    await db.exec('CREATE TABLE c(k INTEGER PRIMARY KEY, v INT)');
    await db.run('INSERT INTO c VALUES(1, 0)');
    stream.isBusy = true;
    await Promise.all(
      Array.from({ length: 60 }, async () => {
        const tx = await db.begin();
        const { v = NaN } = (await tx.get<{ v: number }>('SELECT v FROM c')) ?? {};
        await tx.run('UPDATE c SET v = ?', [v + 1]);
        await tx.commit();
      }),
    );
    stream.isBusy = false;
    expect(await db.get('SELECT v FROM c')).toEqual({ v: 60 });
    expect(stream.sent).toBeLessThan(300);
  });
});
