import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';

it('what requests write at the same time is noted for each of them alone', async () => {
  const { db } = memoryNode('n', ':memory:', new MemoryStream({ broker: new MemoryBroker(), ...MEMORY_STREAM }));
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const request = (id: number) =>
    db.withSession(async () => {
      const { txseq } = await db.run('INSERT INTO t VALUES(?, ?)', [id, 'x']);
      return { own: txseq, noted: db.lastWrite() };
    });
  const answers = await Promise.all(Array.from({ length: 50 }, (_, id) => request(id)));
  expect(answers.map(({ noted }) => noted)).toEqual(answers.map(({ own }) => own));
});

it('a session inside another one tells it what it wrote, and has seen what that has', async () => {
  const { db } = memoryNode('n', ':memory:', new MemoryStream({ broker: new MemoryBroker(), ...MEMORY_STREAM }));
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await db.withSession(async () => {
    const { txseq: first = 0n } = await db.run('INSERT INTO t VALUES(1, 1)');
    await db.withSession(async () => {
      expect(db.lastWrite()).toBe(first);
      await db.run('INSERT INTO t VALUES(2, 2)');
    });
    expect(db.lastWrite()).toBe(first + 1n);
  });
});

it('a session’s COMMIT is noted, and a write that changes nothing where the database stands', async () => {
  const { db } = memoryNode('n', ':memory:', new MemoryStream({ broker: new MemoryBroker(), ...MEMORY_STREAM }));
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await db.withSession(async () => {
    const session = db.connect();
    for (const sql of ['BEGIN', 'INSERT INTO t VALUES(1, 1)']) await session.execute(sql);
    const { txseq } = await session.execute('COMMIT');
    await session.close();
    expect(db.lastWrite()).toBe(txseq);
  });
  const { txseq } = await db.run('INSERT INTO t VALUES(2, 2)');
  await db.withSession(async () => {
    await db.run('INSERT OR IGNORE INTO t VALUES(2, 2)');
    expect(db.lastWrite()).toBe(txseq);
  });
});
