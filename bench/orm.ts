import 'reflect-metadata';
import { rmSync } from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import type { HADatabase } from 'nestjs-ha';
import { EmbeddedNatsServer } from '../lib/stream/embedded/server.js';
import { BenchCluster } from './cluster.js';
import { CREATE_PEOPLE, median, rate } from './measure.js';
import { ORMS } from './orms.js';
import type { Orm, Person, Subject } from './orms.js';
import { Report } from './report.js';

/**
 * `npm run bench:orm`: every ORM on a database without a stream beside the same ORM on better-sqlite3, and on a replicated one
 * beside the library's own calls. Rounds alternate, figures are medians. `--quick` for a fifth of the work; names of ORMs
 * choose some.
 */
const QUICK = process.argv.includes('--quick');
const SCALE = QUICK ? 0.2 : 1;
const ROUNDS = 5;
const BULK = 10_000;
const INSERTS = 2_000 * SCALE;
const READS = 10_000 * SCALE;
const REQUESTS = 6_400 * SCALE;
const CONCURRENT = 64;
const AIM_STANDALONE = 0.7;
const AIM_REPLICATED = 0.5;

/** What a round takes of one subject: runs a second. */
type Measure = (subject: Subject) => Promise<number>;

const inserts: Measure = (subject) => rate(INSERTS, 1, () => subject.insert(person()));
const reads: Measure = (subject) => rate(READS, 1, (n) => subject.read(1 + (n % BULK)));
const bulk: Measure = async (subject) => BULK * (await rate(1, 1, () => subject.insertAll(people(BULK))));
const requests: Measure = (subject) => rate(REQUESTS, CONCURRENT, () => subject.insert(person()));
const transactions: Measure = (subject) => rate(REQUESTS, CONCURRENT, (n) => subject.birthday(1 + (n % BULK)));

let id = 1_000_000;
const chosen = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const orms = ORMS.filter(({ name }) => chosen.length === 0 || chosen.includes(name));
const report = new Report();
const cluster = new BenchCluster();
const server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: cluster.path('nats') });

try {
  report.title(`nats-server ${server.version}, Node ${process.version}, ${ROUNDS} rounds`);
  for (const orm of orms) await standalone(orm);
  for (const orm of orms) await replicated(orm);
} finally {
  await cluster.close();
  await server.release();
}
report.print();

async function standalone(orm: Orm): Promise<void> {
  if (orm.plain === undefined) return;
  const path = cluster.path(`plain-${orm.name}.db`);
  prepare(path);
  const theirs = await orm.plain(path);
  const { db, close } = await cluster.node(`orm-${orm.name}`, 'standalone');
  await db.exec(CREATE_PEOPLE);
  const ours = await orm.over(db);
  for (const subject of [theirs, ours]) await subject.insertAll(people(BULK, 1));
  for (const [what, measure] of Object.entries({
    'single inserts/s': inserts,
    'point reads/s': reads,
    'bulk inserts of 10,000, rows/s': bulk,
  })) {
    const figures = await alternate(measure, ours, theirs);
    report.rate(
      `${orm.name}, standalone: ${what}`,
      figures.ours,
      `${orm.name} on better-sqlite3`,
      figures.theirs,
      AIM_STANDALONE,
    );
  }
  await ours.close();
  await theirs.close();
  await close();
  rmSync(path);
}

async function replicated(orm: Orm): Promise<void> {
  const { db, close } = await cluster.node(`replicated-${orm.name}`, server.url);
  await db.exec(CREATE_PEOPLE);
  const theirs = ownCalls(db);
  const ours = await orm.over(db);
  await theirs.insertAll(people(BULK, 1));
  for (const [what, own, measure] of [
    ['inserts/s', 'db.run', requests],
    ['transactions/s', 'db.transaction', transactions],
  ] as const) {
    const figures = await alternate(measure, ours, theirs);
    report.rate(
      `${orm.name}, replicated, 64 requests at a time: ${what}`,
      figures.ours,
      own,
      figures.theirs,
      AIM_REPLICATED,
    );
  }
  await ours.close();
  await close();
}

async function alternate(measure: Measure, ours: Subject, theirs: Subject): Promise<{ ours: number; theirs: number }> {
  const figures = { ours: [] as number[], theirs: [] as number[] };
  // What is compiled on the way counts for neither.
  await measure(theirs);
  await measure(ours);
  for (let round = 0; round < ROUNDS; round++) {
    figures.theirs.push(await measure(theirs));
    figures.ours.push(await measure(ours));
  }
  return { ours: median(figures.ours), theirs: median(figures.theirs) };
}

function ownCalls(db: HADatabase): Subject {
  const insert = 'INSERT INTO people(id, name, email, age) VALUES(?, ?, ?, ?)';
  const values = ({ id: key, name, email, age }: Person): unknown[] => [key, name, email, age];
  return {
    insert: (one) => db.run(insert, values(one)),
    read: (key) => db.get('SELECT * FROM people WHERE id = ?', [key]),
    insertAll: (rows) =>
      db.transaction(
        async (tx) => {
          for (const row of rows) await tx.run(insert, values(row));
        },
        { timeout: 60_000 },
      ),
    birthday: (key) =>
      db.transaction(async (tx) => {
        const row = await tx.get<Person>('SELECT age FROM people WHERE id = ?', [key]);
        await tx.run('UPDATE people SET age = ? WHERE id = ?', [(row?.age ?? 0) + 1, key]);
      }),
    close: async () => undefined,
  };
}

function prepare(path: string): void {
  const db = new BetterSqlite3(path);
  db.pragma('journal_mode = WAL');
  db.exec(CREATE_PEOPLE);
  db.close();
}

function person(): Person {
  return { id: ++id, name: 'Some Name', email: 'some.name@example.com', age: 33 };
}

function people(count: number, from?: number): Person[] {
  return Array.from({ length: count }, (_value, n) => (from === undefined ? person() : { ...person(), id: from + n }));
}
