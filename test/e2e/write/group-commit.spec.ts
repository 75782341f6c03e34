import { startCluster } from '../../helper/cluster.js';

it('resolves every writer of a group with the sequence of its own transaction', async () => {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const results = await Promise.all(
    Array.from({ length: 1_000 }, (_value, id) => cluster.a.run('INSERT INTO t VALUES(?, ?)', [id, `v${id}`])),
  );
  expect(new Set(results.map(({ txseq }) => txseq)).size).toBe(1_000);
  expect(results.every(({ changes }) => changes === 1)).toBe(true);
  expect(results.map(({ lastInsertRowid }) => lastInsertRowid)).toEqual(results.map((_result, id) => id));
  const messages = await cluster.messages();
  for (const index of [0, 499, 999]) {
    const message = messages.find(({ sequence }) => BigInt(sequence) === results[index]?.txseq);
    expect(message?.text).toContain(`"v${index}"`);
  }
  await cluster.expectEqual();
});

it('keeps reads of the writer behind its own write', async () => {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  for (let id = 0; id < 50; id++) {
    await cluster.a.run('INSERT INTO t VALUES(?, 1)', [id]);
    expect(await cluster.a.get('SELECT v FROM t WHERE id = ?', [id])).toEqual({ v: 1 });
  }
});

it('fails only the writer whose statement fails', async () => {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v NOT NULL)');
  const results = await Promise.allSettled(
    Array.from({ length: 200 }, (_value, id) =>
      cluster.a.run('INSERT INTO t VALUES(?, ?)', [id, id % 7 === 0 ? null : id]),
    ),
  );
  const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  expect(failed).toHaveLength(29);
  for (const error of failed) expect(error).toMatchObject({ name: 'SqliteError', code: 'SQLITE_CONSTRAINT_NOTNULL' });
  await cluster.expectEqual();
  expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 171 });
});

it('answers all kinds of writes at once, with RETURNING rows', async () => {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const [got, all, none, ran] = await Promise.all([
    cluster.a.get('INSERT INTO t VALUES(1, 2) RETURNING id, v * 2 AS w'),
    cluster.a.all('INSERT INTO t VALUES(2, 3), (3, 4) RETURNING *'),
    cluster.a.run('DELETE FROM t WHERE id = 77'),
    cluster.a.transaction(async (tx) => tx.get('UPDATE t SET v = 9 WHERE id = 1 RETURNING v')),
  ]);
  expect({ got, all, none, ran }).toEqual({
    got: { id: 1, w: 4 },
    all: [
      { id: 2, v: 3 },
      { id: 3, v: 4 },
    ],
    none: { changes: 0, lastInsertRowid: expect.any(Number) as number },
    ran: { v: 9 },
  });
  await cluster.expectEqual();
});
