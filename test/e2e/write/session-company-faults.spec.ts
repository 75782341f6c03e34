import type { HAError } from '../../../lib/common/ha-error.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { StreamTimeout, StreamUnavailable } from '../../../lib/stream/replication-stream.js';
import type { OutgoingMessage, PublishReceipt } from '../../../lib/stream/replication-stream.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { counterNodes } from '../../helper/counter-nodes.js';
import type { CounterNodes } from '../../helper/counter-nodes.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import { temporaryFolder, until } from '../../helper/cluster.js';

/** A stream that fails the first message with a text in it. */
class FailingStream extends MemoryStream {
  failure: { readonly text: string; readonly error: Error } | undefined;
  failed = 0;
  sent = 0;

  override publish(message: OutgoingMessage): Promise<PublishReceipt> {
    this.sent++;
    const { failure } = this;
    if (failure === undefined || !message.data.includes(failure.text)) return super.publish(message);
    this.failure = undefined;
    this.failed++;
    return Promise.reject(failure.error);
  }
}

type Setting = CounterNodes<FailingStream>;

const setting = (): Promise<Setting> => counterNodes(FailingStream, 5_000);

/** A session that is fast: the next may join. */
async function reset(db: HADatabase): Promise<void> {
  const session = db.connect();
  await session.execute('BEGIN');
  await session.execute(`UPDATE c SET v = 0 WHERE k = 'k'`);
  await session.execute('COMMIT');
  await session.close();
}

async function codeOf(answer: Promise<unknown>): Promise<string> {
  return answer.then(
    () => 'committed',
    (error: HAError) => error.code,
  );
}

/** One session writes 111, the other one more than it has read, once the stream has failed the first. Returns what it has read. */
async function inCompany({ db, other, stream }: Setting, error: Error): Promise<number> {
  await reset(db);
  const [first, second] = [db.connect(), db.connect()];
  await first.execute('BEGIN');
  const begun = second.execute('BEGIN');
  await first.execute(`UPDATE c SET v = 111 WHERE k = 'k'`);
  stream.failed = 0;
  stream.failure = { text: '111', error };
  const early = codeOf(first.execute('COMMIT'));
  await begun;
  const { rows } = await second.execute<{ v: number }>(`SELECT v FROM c WHERE k = 'k'`);
  const seen = rows[0]?.v ?? NaN;
  await until(() => stream.failed === 1);
  await second.execute('UPDATE c SET v = ? WHERE k = ?', [seen + 1, 'k']);
  const late = codeOf(second.execute('COMMIT'));
  const answers = [await early, await late];
  const before = answers[0] === 'committed' ? 111 : 0;
  const v = answers[1] === 'committed' ? before + 1 : before;
  expect([...answers, await db.get(`SELECT v FROM c`)]).toEqual([...answers, { v }]);
  await until(async () => (await other.get<{ v: number }>(`SELECT v FROM c`))?.v === v);
  await Promise.all([first.close(), second.close()]);
  return seen;
}

describe('a session that runs behind one that the stream does not take', () => {
  it.each([
    ['surely', new StreamUnavailable('no responders')],
    ['as far as is known', new StreamTimeout('no answer')],
  ])('is not committed on rows that never were: %s', async (_title, error) => {
    const nodes = await setting();
    // Where one was slow, they do not share a commit.
    for (let shared = 0, round = 0; shared < 3 && round < 50; round++) {
      if ((await inCompany(nodes, error)) === 111) shared++;
    }
  });
});

describe('sessions in company of which messages are lost', () => {
  it.each([
    ['a stream of one replica', 1, 1_000, false],
    ['a stream of one replica to which another node writes', 1, 1_000, true],
    ['batches', 3, 1_000, false],
    ['single messages', 3, 1, false],
  ])('have seen those in front of them only where they are stored: %s', async (_title, replicas, batchLimit, busy) => {
    const broker = new MemoryBroker();
    const stream = new MemoryStream({ broker, ...MEMORY_STREAM, replicas, batchLimit });
    const folder = temporaryFolder();
    const { db } = memoryNode('a', folder, stream, { publisherTimeout: 5_000 });
    const other = memoryNode('b', folder, new MemoryStream({ broker, ...MEMORY_STREAM, replicas, batchLimit })).db;
    await db.exec(`CREATE TABLE c(v INT); CREATE TABLE log(mark TEXT PRIMARY KEY); CREATE TABLE o(v PRIMARY KEY);
      INSERT INTO c VALUES(0)`);
    const { txseq } = await db.run(`INSERT INTO o VALUES('first')`);
    await other.waitFor(txseq ?? 0n);
    let committed = 0;
    let isDone = false;
    const writing = (async () => {
      for (let n = 0; busy && !isDone; n++) await other.run('INSERT INTO o VALUES(?)', [n]);
    })();
    const increments = async (worker: number): Promise<void> => {
      for (let n = 0; n < 120; n++) {
        if (n % 30 === worker) stream.dropNext(1);
        const session = db.connect();
        await session.execute('BEGIN');
        const { rows } = await session.execute<{ v: number }>('SELECT v FROM c');
        await session.execute('UPDATE c SET v = ?', [(rows[0]?.v ?? NaN) + 1]);
        await session.execute('INSERT INTO log VALUES(?)', [`${worker}.${n}`]);
        if ((await codeOf(session.execute('COMMIT'))) === 'committed') committed++;
        await session.close();
      }
    };
    await Promise.all(Array.from({ length: 12 }, (_value, worker) => increments(worker)));
    isDone = true;
    await writing;
    expect(await db.get('SELECT v, (SELECT count(*) FROM log) AS logged FROM c')).toEqual({
      v: committed,
      logged: committed,
    });
  });
});

describe('a callback that runs behind one that the stream does not take', () => {
  it('runs again on the rows that are', async () => {
    const { db, other, stream } = await setting();
    stream.failure = { text: '111', error: new StreamUnavailable('no responders') };
    const seen: number[] = [];
    const answers = await Promise.allSettled([
      db.run(`UPDATE c SET v = 111 WHERE k = 'k'`),
      db.transaction(async (tx) => {
        const row = await tx.get<{ v: number }>(`SELECT v FROM c WHERE k = 'k'`);
        seen.push(row?.v ?? NaN);
        await until(() => stream.failed === 1);
        await tx.run('UPDATE c SET v = ? WHERE k = ?', [(row?.v ?? NaN) + 1, 'k']);
      }),
    ]);
    expect(seen[0]).toBe(111);
    expect(answers[1].status).toBe('fulfilled');
    const expected = answers[0].status === 'fulfilled' ? 112 : 1;
    expect(await db.get(`SELECT v FROM c WHERE k = 'k'`)).toEqual({ v: expected });
    await until(async () => (await other.get<{ v: number }>(`SELECT v FROM c`))?.v === expected);
  });
});
