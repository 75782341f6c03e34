import type { TransactionalAdapter } from '@nestjs-cls/transactional';
import Sqlite from 'better-sqlite3';
import { onCleanup, pause } from '../../helper/cluster.js';

/** What the checks ask of a transaction, and of the database where there is none. */
export interface Sql {
  run(sql: string, params?: readonly unknown[]): Promise<{ readonly changes: number }>;
  get<T>(sql: string, params?: readonly unknown[]): Promise<T | undefined>;
  all<T>(sql: string, params?: readonly unknown[]): Promise<T[]>;
}

/** Those that the checks give: plain SQLite does nothing about them. */
export interface TxOptions {
  readonly timeout?: number;
  readonly serializable?: boolean;
}

export type Adapter = TransactionalAdapter<PlainDatabase, Sql, TxOptions>;
type Wrapping = ReturnType<Adapter['optionsFactory']>;

const PAUSE_MS = 2;
const PATIENCE_MS = 1_000;

/** A file of SQLite as such adapters see it: a connection for what is in no transaction, and one for each transaction. */
export class PlainDatabase implements Sql {
  private readonly db: Sqlite.Database;

  constructor(private readonly file: string) {
    this.db = new Sqlite(file, { timeout: 0 });
    this.db.pragma('journal_mode = wal');
    onCleanup(() => void this.db.close());
  }

  async run(sql: string, params: readonly unknown[] = []): Promise<{ readonly changes: number }> {
    return this.db.prepare(sql).run(...params);
  }

  async get<T>(sql: string, params: readonly unknown[] = []): Promise<T | undefined> {
    return this.db.prepare(sql).get(...params) as T | undefined;
  }

  async all<T>(sql: string, params: readonly unknown[] = []): Promise<T[]> {
    return this.db.prepare(sql).all(...params) as T[];
  }

  exec(script: string): void {
    this.db.exec(script);
  }

  another(): PlainDatabase {
    return new PlainDatabase(this.file);
  }

  close(): void {
    this.db.close();
  }

  /** Waits as SQLite's busy handler does, but lets the others go on. */
  async begin(): Promise<void> {
    for (const until = Date.now() + PATIENCE_MS; ; await pause(PAUSE_MS)) {
      try {
        return this.exec('BEGIN IMMEDIATE');
      } catch (error) {
        if ((error as { code?: string }).code !== 'SQLITE_BUSY' || Date.now() > until) throw error;
      }
    }
  }
}

/** An adapter as the documentation of @nestjs-cls/transactional shows how to write one, over better-sqlite3. */
export class PlainAdapter implements Adapter {
  constructor(readonly connection: PlainDatabase) {}

  readonly optionsFactory = (db: PlainDatabase): Wrapping => ({
    wrapWithTransaction: async (_options, fn, setTx) => {
      const tx = db.another();
      try {
        await tx.begin();
        setTx(tx);
        const result: unknown = await fn();
        tx.exec('COMMIT');
        return result;
      } finally {
        // What is open is rolled back.
        tx.close();
      }
    },
    wrapWithNestedTransaction: async (_options, fn, setTx, tx) => {
      const own = tx as PlainDatabase;
      own.exec('SAVEPOINT inner_one');
      setTx(own);
      try {
        const result: unknown = await fn();
        own.exec('RELEASE inner_one');
        return result;
      } catch (error) {
        own.exec('ROLLBACK TO inner_one; RELEASE inner_one');
        throw error;
      }
    },
    getFallbackInstance: () => db,
  });
}
