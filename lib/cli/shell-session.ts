import { HARemoteDatabase } from '../grpc/client/remote-database.js';
import type { HARemoteConnection, HARemoteOptions } from '../grpc/client/remote-database.js';
import { HAError } from '../common/ha-error.js';
import { formatTable } from './format.js';
import type { Format } from './format.js';
import { TransactionTracker } from './transaction-tracker.js';

const EXACT = { rowMode: 'array', safeIntegers: true, columns: true } as const;
const SHOW = /^SHOW\s+DATABASES$/i;
const SET = /^SET\s+DATABASE(?:\s*=\s*|\s+)(\S.*)$/i;

/** What a shell runs its statements on: one session of one database at a time. */
export class ShellSession {
  private database: HARemoteDatabase;
  private connection: HARemoteConnection | undefined;
  /** Print how long each statement took. */
  timing = false;
  private readonly tracker = new TransactionTracker();

  constructor(
    private options: HARemoteOptions,
    private readonly format: Format,
    private readonly print: (text: string) => void,
  ) {
    this.database = new HARemoteDatabase(options);
  }

  /** The database that is chosen; undefined means the only one. */
  get name(): string | undefined {
    return this.options.replicationID;
  }

  /** Whether statements have begun a transaction that none has ended. */
  get inTransaction(): boolean {
    return this.tracker.isOpen;
  }

  /** Runs a statement and prints what it gave. */
  async run(sql: string): Promise<void> {
    const started = performance.now();
    const set = SET.exec(sql);
    if (SHOW.test(sql)) await this.show();
    else if (set !== null) await this.choose(unquoted(set[1] ?? ''));
    else await this.execute(sql);
    if (this.timing) this.print(`Time: ${(performance.now() - started).toFixed(1)} ms\n`);
  }

  async close(): Promise<void> {
    await this.connection?.close();
    await this.database.close();
  }

  private async show(): Promise<void> {
    const names = await this.database.databases();
    this.print(formatTable({ columns: ['database'], rows: names.map((name) => [name]) }, this.format));
  }

  private async choose(name: string): Promise<void> {
    const names = await this.database.databases();
    if (!names.includes(name)) {
      throw new HAError('HA_UNKNOWN_DATABASE', `There is no database '${name}'. Choose between: ${names.join(', ')}.`);
    }
    await this.close();
    this.connection = undefined;
    this.tracker.reset();
    this.options = { ...this.options, replicationID: name };
    this.database = new HARemoteDatabase(this.options);
    if (this.format === 'table') this.print(`Database ${name}\n`);
  }

  private async execute(sql: string): Promise<void> {
    this.connection ??= await this.database.connect();
    try {
      const { reader, columns = [], rows, changes } = await this.connection.execute<unknown[]>(sql, undefined, EXACT);
      this.tracker.done(sql);
      if (reader) this.print(formatTable({ columns: columns.map(({ name }) => name), rows }, this.format));
      else if (this.format === 'table') this.print(`ok, ${changes} ${changes === 1 ? 'row' : 'rows'} changed\n`);
    } catch (error) {
      if (isOver(error)) {
        await this.connection.close();
        this.connection = undefined;
        this.tracker.reset();
      }
      throw error;
    }
  }
}

/** The session is gone with what was open in it; the next statement makes another. */
function isOver(error: unknown): boolean {
  return error instanceof HAError && error.details['address'] !== undefined;
}

function unquoted(text: string): string {
  return /^(['"`]).*\1$/.test(text) ? text.slice(1, -1) : text;
}
