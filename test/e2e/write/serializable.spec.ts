import type { HATransaction } from '../../../lib/write/executor.js';
import { failureOf, onCleanup, pause, startCluster, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { replay } from '../../helper/replay.js';

const ACCOUNTS = 8;
const OPENING = 100;
const TOTAL = ACCOUNTS * OPENING;

interface Balance {
  readonly id: number;
  readonly balance: number;
}

describe('a bank on three nodes', () => {
  it('keeps its total at every moment, lends nothing, and every transfer saw the state right in front of it', async () => {
    const cluster = await startCluster({ nodes: 3 });
    await openBank(cluster);
    const samples = sample(cluster);
    const made = await Promise.all(
      cluster.nodes.flatMap(({ db }, node) =>
        Array.from({ length: 4 }, async (_value, worker) => {
          let committed = 0;
          for (let n = 0; n < 25; n++) {
            const name = `n${node} w${worker} ${n}`;
            committed += Number(await db.transaction((tx) => transfer(tx, name), { serializable: true }));
          }
          return committed;
        }),
      ),
    );
    const committed = made.reduce((sum, n) => sum + n, 0);
    expect(committed).toBeGreaterThan(50);
    await cluster.expectEqual();
    expect(samples.stop()).toEqual({ wrong: [], enough: true });
    await expectReplayed(cluster, committed);
  });
});

async function openBank(cluster: Cluster): Promise<void> {
  await cluster.a.exec(`
    CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INT NOT NULL);
    CREATE TABLE journal(name TEXT PRIMARY KEY, giver, taker, amount, saw) WITHOUT ROWID;
    INSERT INTO accounts VALUES${Array.from({ length: ACCOUNTS }, (_value, id) => `(${id}, ${OPENING})`).join(', ')};`);
  await cluster.settle();
}

/** Moves a random amount, unless that would overdraw the account. Writes down what it read. */
async function transfer(tx: HATransaction, name: string): Promise<boolean> {
  const giver = Math.floor(Math.random() * ACCOUNTS);
  const taker = (giver + 1 + Math.floor(Math.random() * (ACCOUNTS - 1))) % ACCOUNTS;
  const amount = 1 + Math.floor(Math.random() * OPENING);
  const all = await tx.all<Balance>('SELECT * FROM accounts ORDER BY id');
  expect(all.reduce((sum, { balance }) => sum + balance, 0)).toBe(TOTAL);
  const saw = all.map(({ balance }) => balance);
  if ((saw[giver] ?? 0) < amount) return false;
  await tx.run('UPDATE accounts SET balance = ? WHERE id = ?', [BigInt((saw[giver] ?? 0) - amount), giver]);
  await tx.run('UPDATE accounts SET balance = ? WHERE id = ?', [BigInt((saw[taker] ?? 0) + amount), taker]);
  await tx.run('INSERT INTO journal VALUES(?, ?, ?, ?, ?)', [name, giver, taker, amount, JSON.stringify(saw)]);
  return true;
}

/** Looks at every node over and over while others write. */
function sample(cluster: Cluster): { stop: () => { wrong: unknown[]; enough: boolean } } {
  const wrong: unknown[] = [];
  let count = 0;
  const statements = cluster.nodes.map(({ db }) =>
    db.reader.prepare('SELECT sum(balance) AS total, min(balance) >= 0 AS solvent FROM accounts'),
  );
  const timer = setInterval(() => {
    for (const [node, statement] of statements.entries()) {
      const { total, solvent } = statement.get() as { total: number; solvent: number };
      count++;
      if (total !== TOTAL || solvent !== 1) wrong.push({ node, total, solvent });
    }
  }, 1);
  onCleanup(() => clearInterval(timer));
  return {
    stop: () => {
      clearInterval(timer);
      return { wrong, enough: count >= 100 };
    },
  };
}

/** Applies the messages to a model of our own, and compares what each transfer read with the model in front of it. */
async function expectReplayed(cluster: Cluster, committed: number): Promise<void> {
  const balances: number[] = [];
  let transfers = 0;
  for (const { changes } of await replay(cluster)) {
    const before = JSON.stringify(balances);
    for (const { table, row } of changes) {
      if (table === 'accounts') balances[Number(row['id'])] = Number(row['balance']);
      if (table !== 'journal') continue;
      transfers++;
      expect([row['name'], row['saw']]).toEqual([row['name'], before]);
    }
    if (balances.length === 0) continue;
    expect(balances.reduce((sum, balance) => sum + balance, 0)).toBe(TOTAL);
    expect(Math.min(...balances)).toBeGreaterThanOrEqual(0);
  }
  expect(transfers).toBe(committed);
  for (const { db } of cluster.nodes) {
    expect(await db.prepare('SELECT balance FROM accounts ORDER BY id').pluck().all()).toEqual(balances);
  }
}

const COUNTER = `
  CREATE TABLE counter(id INTEGER PRIMARY KEY, n INT NOT NULL); INSERT INTO counter VALUES(1, 0);
  CREATE TABLE tickets(n INT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE);`;

/** Takes the next number of the counter. */
async function draw(tx: HATransaction, name: string): Promise<number> {
  const { n = 0 } = (await tx.get<{ n: number }>('SELECT n FROM counter')) ?? {};
  await tx.run('UPDATE counter SET n = ? WHERE id = 1', [BigInt(n + 1)]);
  await tx.run('INSERT INTO tickets VALUES(?, ?)', [BigInt(n + 1), name]);
  return n + 1;
}

/** Every node draws numbers, several at a time; the outcome of each draw by its name. */
async function drawEverywhere(cluster: Cluster, rounds: number): Promise<Map<string, number | { code?: string }>> {
  const outcomes = new Map<string, number | { code?: string }>();
  await Promise.all(
    cluster.nodes.flatMap(({ db }, node) =>
      Array.from({ length: 4 }, async (_value, worker) => {
        for (let n = 0; n < rounds; n++) {
          const name = `n${node} w${worker} ${n}`;
          const drawn = db.transaction((tx) => draw(tx, name), { serializable: true });
          outcomes.set(name, await drawn.catch((error: { code?: string }) => error));
        }
      }),
    ),
  );
  return outcomes;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** No number twice, none left out, and each caller has the one that it was told. */
async function expectDrawn(cluster: Cluster, outcomes: Map<string, number | { code?: string }>): Promise<void> {
  await cluster.expectEqual();
  const rows = await cluster.b.all<{ n: number; name: string }>('SELECT * FROM tickets ORDER BY n');
  expect(rows.map(({ n }) => n)).toEqual(rows.map((_row, index) => index + 1));
  expect(await cluster.c.get('SELECT n FROM counter')).toEqual({ n: rows.length });
  const stored = new Map(rows.map(({ n, name }) => [name, n]));
  for (const [name, outcome] of outcomes) {
    if (typeof outcome === 'number') expect([name, stored.get(name)]).toEqual([name, outcome]);
    else if (outcome.code === 'HA_PUBLISH_UNKNOWN') stored.delete(name);
    else expect([name, outcome.code, stored.get(name)]).toEqual([name, 'HA_PUBLISH_FAILED', undefined]);
  }
  const told = [...outcomes.values()].filter((outcome) => typeof outcome === 'number');
  expect(stored.size).toBe(told.length);
}

describe('a counter that three nodes raise', () => {
  it('gives each number once, and leaves none out', async () => {
    const cluster = await startCluster({ nodes: 3 });
    await cluster.a.exec(COUNTER);
    await cluster.settle();
    const outcomes = await drawEverywhere(cluster, 25);
    expect([...outcomes.values()].filter((outcome) => typeof outcome !== 'number')).toEqual([]);
    await expectDrawn(cluster, outcomes);
    expect(await cluster.a.get('SELECT n FROM counter')).toEqual({ n: 300 });
  });

  it('does so while the line of one node is cut, and answers are lost', async () => {
    const cluster = await startCluster({ nodes: 3, proxy: true, options: { publisherTimeout: '1s' } });
    await cluster.a.exec(COUNTER);
    await cluster.settle();
    const stop = new AbortController();
    const faults = (async () => {
      for (let round = 0; !stop.signal.aborted; round++) {
        await pause(150);
        if (round % 2 === 0) cluster.proxy.muteServer();
        await pause(30);
        cluster.proxy.cut();
        await pause(round % 3 === 2 ? 1_300 : 60);
        cluster.proxy.restore();
        await until(() => cluster.a.status().connected);
      }
    })();
    const outcomes = await drawEverywhere(cluster, 25);
    stop.abort();
    await faults;
    const drawn = [...outcomes.values()].filter((outcome) => typeof outcome === 'number');
    expect(drawn.length).toBeGreaterThanOrEqual(100);
    await expectDrawn(cluster, outcomes);
  });

  it('does so while the server is killed again and again', async () => {
    const cluster = await startCluster({ nodes: 3, server: {} });
    await cluster.a.exec(COUNTER);
    await cluster.settle();
    let isDone = false;
    const drawing = drawEverywhere(cluster, 25).finally(() => (isDone = true));
    let kills = 0;
    while (kills < 3) {
      const position = cluster.b.position().received;
      const hasMoved = (): boolean => isRunning(cluster.server.pid) && cluster.b.position().received > position + 10n;
      // A fast machine may have drawn everything by now; a slow one takes its time to start a server.
      await until(() => isDone || hasMoved(), 60_000);
      if (isDone) break;
      process.kill(cluster.server.pid, 'SIGKILL');
      kills++;
    }
    expect(kills).toBeGreaterThan(0);
    const outcomes = await drawing;
    expect([...outcomes.values()].filter((outcome) => typeof outcome === 'number').length).toBeGreaterThan(100);
    await expectDrawn(cluster, outcomes);
  });
});

describe('txseq', () => {
  it('names the message of its own write, which read the state right in front of it, also where answers are lost', async () => {
    const cluster = await startCluster({ nodes: 3, proxy: true, options: { concurrency: 'serializable' } });
    await cluster.a.exec('CREATE TABLE journal(name TEXT PRIMARY KEY, n INT) WITHOUT ROWID');
    await cluster.settle();
    const places = new Map<string, bigint | undefined>();
    const writing = Promise.all(
      cluster.nodes.flatMap(({ db }, node) =>
        Array.from({ length: 3 }, async (_value, worker) => {
          for (let n = 0; n < 20; n++) {
            const name = `n${node} w${worker} ${n}`;
            const sql = 'INSERT INTO journal SELECT ?, coalesce(max(n), 0) + 1 FROM journal';
            places.set(name, (await db.run(sql, [name])).txseq);
          }
        }),
      ),
    );
    for (let round = 0; round < 3; round++) {
      await pause(100);
      cluster.proxy.muteServer();
      await pause(30);
      cluster.proxy.cut();
      await pause(60);
      cluster.proxy.restore();
      await until(() => cluster.a.status().connected);
    }
    await writing;
    await cluster.expectEqual();
    const rows = (await replay(cluster)).flatMap(({ sequence, changes }) =>
      changes.map(({ row }) => ({ sequence: BigInt(sequence), name: row['name'] as string, n: row['n'] })),
    );
    expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: 180 }, (_value, index) => index + 1));
    for (const { sequence, name } of rows) expect([name, places.get(name)]).toEqual([name, sequence]);
  });
});

describe('ids that three nodes generate at the same time', () => {
  it.each([
    ['INTEGER PRIMARY KEY', 10_000],
    ['INTEGER PRIMARY KEY AUTOINCREMENT', 2_000],
  ])('%s, %d each: none is lost, none is given twice, each caller has its own', async (key, each) => {
    const cluster = await startCluster({ nodes: 3 });
    await cluster.a.exec(`CREATE TABLE t(id ${key}, v TEXT NOT NULL)`);
    await cluster.settle();
    const ids = new Map<string, number>();
    await Promise.all(
      cluster.nodes.flatMap(({ db }, node) =>
        Array.from({ length: each }, async (_value, index) => {
          const v = `n${node} ${index}`;
          const { lastInsertRowid } = await db.run('INSERT INTO t(v) VALUES(?)', [v]);
          ids.set(v, Number(lastInsertRowid));
        }),
      ),
    );
    await cluster.settle();
    expect(new Set(ids.values()).size).toBe(3 * each);
    for (const { db } of cluster.nodes) {
      const rows = await db.all<{ id: number; v: string }>('SELECT id, v FROM t');
      expect(rows).toHaveLength(3 * each);
      expect(rows.filter(({ id, v }) => ids.get(v) !== id)).toEqual([]);
    }
    await cluster.expectEqual();
  });
});

describe('concurrency=serializable', () => {
  it('makes write skew impossible: of two withdrawals that need the sum of two accounts, one is refused', async () => {
    const cluster = await startCluster({ nodes: 3, options: { concurrency: 'serializable' } });
    await cluster.a.exec('CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INT NOT NULL)');
    for (let round = 0; round < 25; round++) {
      await cluster.a.run('INSERT OR REPLACE INTO accounts VALUES(0, 50), (1, 50), (2, 50)');
      await cluster.settle();
      const paid = await Promise.all(
        cluster.nodes.map(({ db }, id) =>
          db.transaction(async (tx) => {
            const { sum = 0 } = (await tx.get<{ sum: number }>('SELECT sum(balance) AS sum FROM accounts')) ?? {};
            // One may overdraw its account as long as all together stay above zero.
            if (sum < 100) return false;
            await tx.run('UPDATE accounts SET balance = balance - 100 WHERE id = ?', [id]);
            return true;
          }),
        ),
      );
      await cluster.settle();
      expect(paid.filter((done) => done)).toHaveLength(1);
      for (const { db } of cluster.nodes) {
        expect(await db.get('SELECT sum(balance) AS sum FROM accounts')).toEqual({ sum: 50 });
      }
    }
    await cluster.expectEqual();
  });

  it('gives plain statements the same: no increment is lost', async () => {
    const cluster = await startCluster({ nodes: 3, options: { concurrency: 'serializable' } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, n INT); INSERT INTO t VALUES(1, 0)');
    await cluster.settle();
    await Promise.all(
      cluster.nodes.flatMap(({ db }) => Array.from({ length: 50 }, () => db.run('UPDATE t SET n = n + 1'))),
    );
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT n FROM t')).toEqual({ n: 150 });
  });
});

describe('a transaction that others came before', () => {
  const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'start')`;

  it('fails with HA_CONFLICT and writes nothing where it may not run again', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const before = await cluster.lastSequence();
    const attempts: number[] = [];
    const error = await failureOf(
      cluster.a.transaction(
        async (tx) => {
          attempts.push(tx.attempt);
          await tx.get('SELECT * FROM t');
          await cluster.b.run(`UPDATE t SET v = 'other'`);
          await tx.run(`UPDATE t SET v = 'mine'`);
        },
        { serializable: true, retry: false },
      ),
    );
    expect(error).toMatchObject({ code: 'HA_CONFLICT', retryable: true });
    expect(attempts).toEqual([1]);
    expect(await cluster.lastSequence()).toBe(before + 1);
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT v FROM t')).toEqual({ v: 'other' });
  });

  it('runs again on what they wrote, and tx.attempt counts', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const runs: unknown[] = [];
    await cluster.a.transaction(
      async (tx) => {
        runs.push([tx.attempt, await tx.prepare('SELECT v FROM t').pluck().get()]);
        if (tx.attempt < 4) await cluster.b.run('UPDATE t SET v = ?', [`other ${tx.attempt}`]);
        await tx.run(`UPDATE t SET v = v || ', then mine'`);
      },
      { serializable: true },
    );
    expect(runs).toEqual([
      [1, 'start'],
      [2, 'other 1'],
      [3, 'other 2'],
      [4, 'other 3'],
    ]);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT v FROM t')).toEqual({ v: 'other 3, then mine' });
  });

  it('is not disturbed by others where it is not serializable', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const attempts: number[] = [];
    await cluster.a.transaction(
      async (tx) => {
        attempts.push(tx.attempt);
        await cluster.b.run(`UPDATE t SET v = 'other'`);
        await tx.run(`UPDATE t SET v = 'mine'`);
      },
      { retry: false },
    );
    expect(attempts).toEqual([1]);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT v FROM t')).toEqual({ v: 'mine' });
  });
});
