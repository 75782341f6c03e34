import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

/** Pages that are copied in one step; the thread can be ended between two. */
const PAGES_PER_STEP = 1_024;

/** Runs in the worker. CommonJS and self-contained, so that it runs from sources, bundles and dist alike. */
const WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const Database = require(workerData.driver);

async function copy({ source, target, subject, statements, gently }) {
  const db = new Database(source, { readonly: true, timeout: 5000 });
  let position;
  try {
    // One read transaction for all: else the copy begins anew with every commit of somebody else.
    db.exec('BEGIN');
    position = positionOf(db, subject);
    await db.backup(target, {
      progress: gently ? rest : () => ${PAGES_PER_STEP},
    });
    db.exec('COMMIT');
  } finally {
    db.close();
  }
  const made = new Database(target);
  try {
    made.pragma('synchronous = FULL');
    for (const [table, sql] of statements) if (has(made, table)) made.exec(sql);
    // The copy has to be one file, and closing alone says nothing where the WAL cannot be written back.
    if (made.pragma('wal_checkpoint(TRUNCATE)')[0].busy) throw new Error('somebody else has the copy open');
  } finally {
    made.close();
  }
  return position;
}

let since = performance.now();
const never = new Int32Array(new SharedArrayBuffer(4));

/** Twice as long as the last step took: disk and processor are for those who write. */
function rest() {
  Atomics.wait(never, 0, 0, Math.min(100, 2 * (performance.now() - since)));
  since = performance.now();
  return ${PAGES_PER_STEP};
}

function positionOf(db, subject) {
  const known = db.prepare("SELECT count(*) FROM main.sqlite_schema").pluck().get();
  if (known === 0 || subject === undefined || !has(db, 'ha_stats')) return undefined;
  return db.prepare('SELECT received_seq FROM main.ha_stats WHERE subject = ?').pluck().get(subject);
}

function has(db, table) {
  return db.prepare("SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?").get(table) !== undefined;
}

function check({ path }) {
  const db = new Database(path, { readonly: true });
  try {
    try {
      return db.pragma('quick_check(1)', { simple: true });
    } catch (error) {
      if (!isLack(error)) throw error;
    }
    // Functions of the application are missing here: the tables that need none can be looked at.
    const names = db.prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'").pluck().all();
    for (const name of names) {
      try {
        const answer = db.pragma('quick_check("' + name.replaceAll('"', '""') + '")', { simple: true });
        if (answer !== 'ok') return answer;
      } catch (error) {
        if (!isLack(error)) throw error;
      }
    }
    return 'ok';
  } finally {
    db.close();
  }
}

function isLack(error) {
  return error && error.code === 'SQLITE_ERROR' && /no such (function|collation|module)|unknown function/i.test(error.message);
}

const work = { copy, check };
Promise.resolve()
  .then(() => work[workerData.task](workerData.input))
  .then(
    (result) => parentPort.postMessage({ result }),
    (error) => parentPort.postMessage({ error: { message: String(error && error.message), code: error && error.code } }),
  );`;

export interface CopyTask {
  readonly source: string;
  readonly target: string;
  /** Whose position is asked for; undefined without a stream. */
  readonly subject: string | undefined;
  /** Run in the copy, each where its table is there. */
  readonly statements: readonly (readonly [table: string, sql: string])[];
  /** Rests between the steps, twice as long as each took. */
  readonly gently: boolean;
}

interface Answer {
  readonly error?: { readonly message: string; readonly code: string | undefined };
  readonly result?: unknown;
}

/** What went wrong in the worker; `code` is that of SQLite or of the system. */
export class WorkerFailure extends Error {
  constructor(
    message: string,
    readonly code: string | undefined,
  ) {
    super(message);
    this.name = 'WorkerFailure';
  }
}

/**
 * Copies a database in a thread of its own, as of one moment and page by page: rowids stay, and writers go on.
 *
 * @returns The position in the copy, undefined where it has none.
 */
export function copyInWorker(task: CopyTask, signal?: AbortSignal): Promise<number | undefined> {
  return run('copy', task, signal) as Promise<number | undefined>;
}

/** `quick_check` in a thread of its own. Returns `ok`, or what is wrong. */
export function checkInWorker(path: string): Promise<string> {
  return run('check', { path }) as Promise<string>;
}

function run(task: string, input: object, signal?: AbortSignal): Promise<unknown> {
  const driver = createRequire(import.meta.url).resolve('better-sqlite3');
  const worker = new Worker(WORKER, { eval: true, workerData: { driver, task, input } });
  const answered = new Promise<unknown>((resolve, reject) => {
    worker.on('message', ({ error, result }: Answer) => {
      if (error !== undefined) reject(new WorkerFailure(error.message, error.code));
      else resolve(result);
    });
    worker.on('error', reject);
    worker.on('exit', () => reject(new WorkerFailure('the worker ended', undefined)));
  });
  const end = (): void => void worker.terminate();
  signal?.addEventListener('abort', end);
  if (signal?.aborted === true) end();
  return answered.finally(() => {
    signal?.removeEventListener('abort', end);
    end();
  });
}
