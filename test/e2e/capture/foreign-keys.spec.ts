import { describeInEveryIdentity, failureOf, startCluster } from '../../helper/cluster.js';

const query = '_foreign_keys=on';

describeInEveryIdentity('foreign keys', () => {
  it.each([
    ['CASCADE', [{ id: 10, p: 5 }], []],
    [
      'SET NULL',
      [
        { id: 10, p: null },
        { id: 20, p: 2 },
      ],
      [
        { id: 10, p: null },
        { id: 20, p: null },
      ],
    ],
    [
      'SET DEFAULT',
      [
        { id: 10, p: 9 },
        { id: 20, p: 2 },
      ],
      [
        { id: 10, p: 9 },
        { id: 20, p: 9 },
      ],
    ],
  ])('act: %s', async (action, updated, removed) => {
    const cluster = await startCluster({ query });
    await cluster.a.exec(`
      CREATE TABLE p(id INTEGER PRIMARY KEY, v);
      CREATE TABLE c(id INTEGER PRIMARY KEY, p INT DEFAULT 9 REFERENCES p(id) ON DELETE ${action} ON UPDATE ${action});
      CREATE TABLE bag(p INT DEFAULT 9 REFERENCES p(id) ON DELETE ${action} ON UPDATE ${action});
      INSERT INTO p VALUES(1, 'a'), (2, 'b'), (9, 'default');
      INSERT INTO c VALUES(10, 1), (20, 2); INSERT INTO bag VALUES(1), (1), (2);`);
    await cluster.a.run('UPDATE p SET id = 5 WHERE id = 1');
    await cluster.expectEqual();
    const all =
      action === 'CASCADE'
        ? [
            { id: 10, p: 5 },
            { id: 20, p: 2 },
          ]
        : updated;
    expect(await cluster.b.all('SELECT * FROM c')).toEqual(all);
    await cluster.settle();
    await cluster.b.run('DELETE FROM p WHERE id IN (2, 5)');
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM c')).toEqual(removed);
  });

  it.each(['NO ACTION', 'RESTRICT'])('refuse: %s', async (action) => {
    const cluster = await startCluster({ query });
    await cluster.a.exec(`
      CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id) ON DELETE ${action});
      INSERT INTO p VALUES(1), (2); INSERT INTO c VALUES(1);`);
    const before = await cluster.lastSequence();
    expect((await failureOf(cluster.a.run('DELETE FROM p'))).code).toMatch(/^SQLITE_CONSTRAINT/);
    await cluster.settle();
    expect((await failureOf(cluster.b.run('INSERT INTO c VALUES(7)'))).code).toBe('SQLITE_CONSTRAINT_FOREIGNKEY');
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.settle();
    await cluster.b.run('DELETE FROM p WHERE id = 2');
    await cluster.expectEqual();
  });

  it('to the same table: a row whose own id changes, and a tree that is removed', async () => {
    const cluster = await startCluster({ query });
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, up INT REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE, v);
      INSERT INTO t VALUES(1, 1, 'self'), (2, 1, 'child'), (3, 2, 'grandchild'), (4, NULL, 'root');`);
    await cluster.a.run('UPDATE t SET id = 10 WHERE id = 1');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT id, up FROM t ORDER BY v')).toEqual([
      { id: 2, up: 10 },
      { id: 3, up: 2 },
      { id: 4, up: null },
      { id: 10, up: 10 },
    ]);
    await cluster.settle();
    await cluster.b.run('DELETE FROM t WHERE id = 10');
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 4 }]);
  });

  it('over several columns, with text keys and WITHOUT ROWID', async () => {
    const cluster = await startCluster({ query });
    await cluster.a.exec(`
      CREATE TABLE p(a TEXT, b INT, v, PRIMARY KEY(b, a)) WITHOUT ROWID;
      CREATE TABLE c(x INT, y TEXT, v, FOREIGN KEY(x, y) REFERENCES p(b, a) ON UPDATE CASCADE ON DELETE SET NULL);
      INSERT INTO p VALUES('k', 1, 'p1'), ('l', 2, 'p2'); INSERT INTO c VALUES(1, 'k', 'c1'), (1, 'k', 'c2'), (2, 'l', 'c3');`);
    await cluster.a.run(`UPDATE p SET a = 'm', b = 7 WHERE b = 1`);
    await cluster.a.run(`DELETE FROM p WHERE b = 2`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM c')).toEqual([
      { x: 7, y: 'm', v: 'c1' },
      { x: 7, y: 'm', v: 'c2' },
      { x: null, y: null, v: 'c3' },
    ]);
  });

  it('deferred: a violated one publishes nothing, and does not stain the next transaction', async () => {
    const cluster = await startCluster({ query });
    await cluster.a.exec(`
      CREATE TABLE p(id INTEGER PRIMARY KEY);
      CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED);`);
    const before = await cluster.lastSequence();
    const results = await Promise.allSettled([
      cluster.a.run('INSERT INTO p VALUES(1)'),
      cluster.a.run('INSERT INTO c VALUES(1, 77)'),
      cluster.a.transaction(async (tx) => {
        await tx.run('INSERT INTO c VALUES(2, 2)');
        await tx.run('INSERT INTO p VALUES(2)');
      }),
      cluster.a.run('INSERT INTO c VALUES(3, 1)'),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect((results[1] as PromiseRejectedResult).reason).toMatchObject({
      name: 'SqliteError',
      code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
      message: 'FOREIGN KEY constraint failed',
    });
    expect(await cluster.lastSequence()).toBe(before + 3);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM c')).toEqual([
      { id: 2, p: 2 },
      { id: 3, p: 1 },
    ]);
  });

  it('deferred: a parent that is deleted', async () => {
    const cluster = await startCluster({ query });
    await cluster.a.exec(`
      CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED);
      INSERT INTO p VALUES(1); INSERT INTO c VALUES(1);`);
    expect((await failureOf(cluster.a.run('DELETE FROM p'))).code).toBe('SQLITE_CONSTRAINT_FOREIGNKEY');
    await cluster.a.exec('DELETE FROM p; DELETE FROM c;');
    await cluster.expectEqual();
  });

  it('to a table that is dropped: the rows of its children follow', async () => {
    const cluster = await startCluster({ query });
    await cluster.a.exec(`
      CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE);
      CREATE TABLE d(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE SET NULL);
      INSERT INTO p VALUES(1), (2); INSERT INTO c VALUES(10, 1), (20, 2), (30, NULL); INSERT INTO d VALUES(1, 1);`);
    await cluster.a.run('DROP TABLE p');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM c')).toEqual([{ id: 30, p: null }]);
    expect(await cluster.b.all('SELECT * FROM d')).toEqual([{ id: 1, p: null }]);
  });

  it('deferred: a violation that two nodes made together does not block the table', async () => {
    const cluster = await startCluster({ query: '_foreign_keys=on' });
    await cluster.a.exec(
      `CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO p VALUES(1), (2)`,
    );
    await cluster.settle();
    await Promise.all([cluster.a.run('DELETE FROM p WHERE id = 1'), cluster.b.run('INSERT INTO c VALUES(1, 1)')]);
    await cluster.settle();
    await cluster.a.run('INSERT INTO c VALUES(2, 2)');
    await cluster.expectEqual();
  });
});
