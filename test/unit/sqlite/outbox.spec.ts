import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { OutboxFile } from '../../../lib/sqlite/outbox-file.js';
import { OutboxStore } from '../../../lib/sqlite/outbox-store.js';
import type { InFlight, OutboxTransaction } from '../../../lib/sqlite/outbox-store.js';
import { createOutboxTables, pendingMessages } from '../../../lib/sqlite/outbox-tables.js';
import { OutboxTail } from '../../../lib/sqlite/outbox-tail.js';
import { SeenIds } from '../../../lib/sqlite/seen-ids.js';
import { SimRandom } from '../../sim/random.js';

let dir = '';
const open: Database[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ha-outbox-'));
});

afterEach(() => {
  for (const db of open.splice(0)) db.close();
  rmSync(dir, { recursive: true, force: true });
});

function database(): Database {
  const db = new BetterSqlite3(join(dir, 'my.db'));
  open.push(db);
  db.pragma('journal_mode = WAL');
  createOutboxTables(db);
  return db;
}

function transaction(id: string, parts = 1): OutboxTransaction {
  const messages = Array.from({ length: parts }, (_value, index) => {
    const message = { id: parts === 1 ? id : `${id}${index + 1}`, data: Buffer.from(id) };
    return parts === 1 ? message : { ...message, chunk: `${id}1;${index + 1}/${parts}` };
  });
  return { messages, tables: ['t'], changes: 1, countersBefore: [['t', 9_007_199_254_740_993n]] };
}

/** Adds and commits. */
function add(store: OutboxStore, db: Database, ...transactions: OutboxTransaction[]): void {
  db.exec('BEGIN');
  store.add(db, transactions);
  db.exec('COMMIT');
  store.confirm();
}

const ids = (store: OutboxStore): string[] => store.after(0, 100).map(({ id }) => id);
const codeOf = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return undefined;
};

describe('the outbox in the database', () => {
  it('gives back what it took, in order, transactions of several messages as one', () => {
    const db = database();
    add(new OutboxStore(db, db, undefined), db, transaction('o.1'), transaction('o.2', 3), transaction('o.3'));
    const store = new OutboxStore(db, db, undefined);
    const entries = store.load();
    expect(entries.map(({ first, last, id }) => [first, last, id])).toEqual([
      [1, 1, 'o.1'],
      [2, 4, 'o.23'],
      [5, 5, 'o.3'],
    ]);
    const [, second] = entries;
    expect(second && store.messagesOf(second).map(({ id }) => id)).toEqual(['o.21', 'o.22', 'o.23']);
    expect(second && store.countersOf(second)).toEqual([['t', 9_007_199_254_740_993n]]);
    db.exec('BEGIN');
    store.remove(entries.slice(0, 2));
    db.exec('COMMIT');
    expect(ids(store)).toEqual(['o.3']);
    expect(pendingMessages(db)).toEqual({ count: 1, path: undefined });
  });

  it('gives out from memory what it would read, whatever was added, taken back, removed and asked for again', () => {
    const seed = Date.now() % 1_000_000;
    const random = new SimRandom(seed);
    for (let round = 0; round < 30; round++) {
      const db = new BetterSqlite3(':memory:');
      open.push(db);
      createOutboxTables(db);
      const store = new OutboxStore(db, db, undefined);
      store.load();
      const inFlight: InFlight[] = [];
      let asked = 0;
      for (let step = 0; step < 60; step++) {
        const what = random.below(6);
        if (what < 3) {
          db.exec('BEGIN');
          const added = store.add(db, [transaction(`o.${step}`, 1 + random.below(3)), transaction(`p.${step}`)]);
          db.exec(what === 0 ? 'ROLLBACK' : 'COMMIT');
          if (what === 0) {
            if (random.chance(0.5)) store.discard();
          } else {
            store.confirm();
            inFlight.push(...added);
          }
        } else if (what === 3) {
          const removed = inFlight.splice(random.below(3), random.below(4));
          store.remove(removed);
          store.removed(removed);
        } else {
          const from = random.chance(0.2) ? random.below(asked + 5) : asked;
          const limit = 1 + random.below(6);
          const rows = store.after(from, limit);
          const sql = `SELECT n, id, CAST(data AS TEXT) AS data, chunk FROM ha_outbox WHERE n > ? ORDER BY n LIMIT ?`;
          const expected = db.prepare(sql).all(from, limit);
          const got = rows.map(({ n, id, data, chunk = null }) => ({ n, id, data: data.toString(), chunk }));
          expect({ seed, got }).toEqual({ seed, got: expected });
          asked = rows.at(-1)?.n ?? from;
        }
      }
    }
  });

  it('keeps what takes a transaction back until that is removed', () => {
    const db = database();
    const store = new OutboxStore(db, db, undefined);
    add(store, db, transaction('o.1'), transaction('o.2'));
    const [head, second] = store.load();
    if (head === undefined || second === undefined) throw new Error('They are missing.');
    const undo = { effects: Buffer.from('{}'), countersBefore: [['t', null] as const], tables: ['u'], refused: true };
    store.putUndo(head, { ...undo, effects: Buffer.from('old') });
    store.putUndo(head, undo);
    expect(store.undoOf(head)).toEqual(undo);
    expect(store.undoOf(second)).toBeUndefined();
    expect(new OutboxStore(db, db, undefined).load()).toMatchObject([
      { tables: ['u'], refused: true },
      { tables: ['t'] },
    ]);
    expect([store.holds('o.1'), store.holds('o.3')]).toEqual([true, false]);
    store.remove([head]);
    expect(db.prepare('SELECT count(*) FROM ha_undo').pluck().get()).toBe(0);
  });
});

describe('the outbox in a file of its own', () => {
  const file = (db: Database, seen = new SeenIds(), folder = join(dir, 'outbox')): OutboxFile =>
    OutboxFile.open(folder, db, seen);

  it('forgets what was stored there when the database did not commit', () => {
    const db = database();
    const store = new OutboxStore(db, db, file(db));
    store.load();
    add(store, db, transaction('o.1'));
    db.exec('BEGIN');
    store.add(db, [transaction('o.2')]);
    // The process ends between the two commits.
    db.exec('ROLLBACK');
    store.close();
    const again = new OutboxStore(db, db, file(db));
    expect(again.load().map(({ id }) => id)).toEqual(['o.1']);
    expect(ids(again)).toEqual(['o.1']);
    add(again, db, transaction('o.3'));
    expect(ids(again)).toEqual(['o.1', 'o.3']);
    again.close();
  });

  it('does not publish it either where the process goes on', () => {
    const db = database();
    const store = new OutboxStore(db, db, file(db));
    store.load();
    db.exec('BEGIN');
    store.add(db, [transaction('o.1')]);
    db.exec('ROLLBACK');
    store.discard();
    expect(ids(store)).toEqual([]);
    add(store, db, transaction('o.2'));
    expect(ids(store)).toEqual(['o.2']);
    store.close();
  });

  it('forgets what the database had passed before the process ended', () => {
    const db = database();
    const store = new OutboxStore(db, db, file(db));
    const entries = (store.load(), add(store, db, transaction('o.1', 2), transaction('o.3')), store.load());
    db.exec('BEGIN');
    store.remove(entries.slice(0, 1));
    db.exec('COMMIT');
    store.close();
    const again = new OutboxStore(db, db, file(db, new SeenIds([{ origin: 'o', lo: 11, hi: 12 }])));
    expect(again.load().map(({ id }) => id)).toEqual(['o.3']);
    again.close();
  });

  it('refuses to start where messages are missing, and names the file', () => {
    const db = database();
    const store = new OutboxStore(db, db, file(db));
    store.load();
    add(store, db, transaction('o.1'));
    const path = store.file?.path;
    store.close();
    expect(pendingMessages(db)).toEqual({ count: 1, path });
    expect(codeOf(() => file(db, new SeenIds(), join(dir, 'elsewhere')))).toBe('HA_OVERLAY_BROKEN');
    expect(new OutboxStore(db, db, file(db)).load()).toHaveLength(1);
  });

  it('takes over what lies in the database', () => {
    const db = database();
    add(new OutboxStore(db, db, undefined), db, transaction('o.1'), transaction('o.2'));
    const store = new OutboxStore(db, db, file(db));
    expect(store.load().map(({ id }) => id)).toEqual(['o.1', 'o.2']);
    expect(db.prepare('SELECT count(*) FROM ha_outbox').pluck().get()).toBe(0);
    expect(pendingMessages(db).count).toBe(2);
    store.close();
  });

  it('is opened by one only', () => {
    const db = database();
    const first = file(db);
    expect(codeOf(() => file(db))).toBe('HA_DATABASE_LOCKED');
    first.close();
  });

  it('says so where the folder cannot be written', () => {
    const db = database();
    writeFileSync(join(dir, 'occupied'), '');
    expect(codeOf(() => file(db, new SeenIds(), join(dir, 'occupied', 'outbox')))).toBe('HA_DATABASE_OPEN');
  });
});

describe('the end of the outbox in memory', () => {
  const message = (n: number): { n: number; id: string; data: Buffer } => ({ n, id: `o.${n}`, data: Buffer.alloc(10) });
  const numbers = (tail: OutboxTail, n: number, limit = 10): number[] | undefined =>
    tail.take(n, limit)?.map((taken) => taken.n);

  it('gives out each message once', () => {
    const tail = new OutboxTail(2);
    tail.add([message(3), message(5), message(6)]);
    expect(numbers(tail, 1)).toBeUndefined();
    expect(numbers(tail, 2, 2)).toEqual([3, 5]);
    expect(numbers(tail, 2)).toBeUndefined();
    expect(numbers(tail, 5)).toEqual([6]);
    expect(numbers(tail, 6)).toEqual([]);
    tail.add([message(7), message(8)]);
    tail.drop(7);
    expect(numbers(tail, 7)).toEqual([8]);
  });

  it('keeps no more than its limit, and then all is read from the outbox', () => {
    const tail = new OutboxTail(0, 30);
    tail.add([message(1), message(2), message(3)]);
    tail.add([message(4)]);
    expect(numbers(tail, 0)).toBeUndefined();
    expect(numbers(tail, 3)).toBeUndefined();
    tail.add([message(5)]);
    expect(numbers(tail, 4)).toEqual([5]);
  });
});
