import { HAError } from '../../common/ha-error.js';
import type { HADatabase } from '../../write/ha-database.js';

/** A database that callers can reach. */
export interface ServedDatabase {
  readonly replicationID: string;
  /** Path of its file, without anything that is secret. */
  readonly dsn: string;
  /** Path of the file to copy; the database has to be started. */
  path(): string | undefined;
  readonly database: HADatabase;
  /** Milliseconds that the server may work on one answer of rows. */
  readonly timeout: number;
  /** The latest stored snapshot, undefined where there is none. Absent where nobody stores any. */
  readonly latestSnapshot?: (() => Promise<AsyncIterable<Uint8Array> | undefined>) | undefined;
}

/** The databases of one server: they come and go while it runs. */
export class ServedDatabases {
  private readonly databases = new Map<string, ServedDatabase>();

  get size(): number {
    return this.databases.size;
  }

  /** Names, in the order in which they were added. */
  get names(): string[] {
    return [...this.databases.keys()];
  }

  get dsns(): string[] {
    return [...this.databases.values()].map(({ dsn }) => dsn);
  }

  /** @throws HAError `HA_GRPC_SERVER` where another one has the name. */
  add(database: ServedDatabase): void {
    const { replicationID } = database;
    if (this.databases.has(replicationID)) {
      throw new HAError(
        'HA_GRPC_SERVER',
        `Two databases with the replication ID '${replicationID}' cannot be told apart on one gRPC port. Give one another replicationID, or another grpcPort.`,
        { details: { replicationID } },
      );
    }
    this.databases.set(replicationID, database);
  }

  delete(database: ServedDatabase): void {
    if (this.databases.get(database.replicationID) === database) this.databases.delete(database.replicationID);
  }

  /**
   * @param replicationID Empty means the only one.
   * @throws HAError `HA_UNKNOWN_DATABASE`.
   */
  find(replicationID: string): ServedDatabase {
    const [only] = this.databases.values();
    const found = this.databases.get(replicationID) ?? (replicationID === '' && this.size === 1 ? only : undefined);
    if (found !== undefined) return found;
    const what =
      replicationID === ''
        ? 'The request names no database (replication_id)'
        : `There is no database '${replicationID}'`;
    throw new HAError('HA_UNKNOWN_DATABASE', `${what}. Choose between: ${this.names.join(', ') || 'none'}.`, {
      details: { replicationID, known: this.names },
    });
  }
}
