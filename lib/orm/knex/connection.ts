import type { HAResult } from '../../write/executor.js';
import type { HASession } from '../../write/session.js';
import { foreignKeysOf } from '../common/foreign-keys.js';

/**
 * A connection as Knex's pool holds it: a session, with what users of Knex call on a connection of better-sqlite3. Who takes it
 * gets a {@link lease} of it: Knex gives back what has streamed rows twice, when others may have it already.
 */
export class HAKnexConnection {
  /** Set by Knex while one of its transactions has the connection. */
  declare __knexTxId?: string;
  declare __knexUid?: string;
  /** Why the pool must not hand it out again. */
  declare __knex__disposed?: Error;
  /** What `PRAGMA foreign_keys` was set to here. */
  foreignKeys: string | undefined;
  /** A statement of the user began a transaction, not Knex. */
  private begun = false;

  /** It was given back: a lease is, once. */
  isReleased = false;
  /** What the pool holds. */
  readonly pooled: HAKnexConnection;

  constructor(
    private readonly session: HASession,
    pooled?: HAKnexConnection,
  ) {
    this.pooled = pooled ?? this;
  }

  get inTransaction(): boolean {
    return this.session.inTransaction;
  }

  /** Whether it is given back amid a transaction that nobody can end any more. */
  get leftOpen(): boolean {
    return this.begun && this.inTransaction;
  }

  lease(): HAKnexConnection {
    const lease = new HAKnexConnection(this.session, this);
    if (this.__knexUid !== undefined) lease.__knexUid = this.__knexUid;
    return lease;
  }

  async execute(sql: string, params: readonly unknown[], safeIntegers?: boolean): Promise<HAResult> {
    const isByKnex = this.__knexTxId !== undefined;
    const wasOpen = this.inTransaction;
    const result = await this.session.execute(sql, params, safeIntegers === undefined ? undefined : { safeIntegers });
    if (!wasOpen && this.inTransaction) this.begun = !isByKnex;
    if (!this.inTransaction) this.foreignKeys = foreignKeysOf(sql) ?? this.foreignKeys;
    return result;
  }

  /** Runs a script. What comes next comes behind it, as with `exec` of better-sqlite3, also where nobody waits for it. */
  async exec(script: string): Promise<void> {
    await this.session.script(script);
  }

  /** Runs a PRAGMA and gives its rows, as `pragma` of better-sqlite3. What comes next comes behind it. */
  async pragma(source: string): Promise<unknown[]> {
    return (await this.execute(`PRAGMA ${source}`, [])).rows;
  }

  close(): Promise<void> {
    return this.session.close();
  }
}
