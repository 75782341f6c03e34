import { Injectable } from '@nestjs/common';
import type { OnApplicationShutdown } from '@nestjs/common';
import { HAError } from './common/ha-error.js';
import type { ResolvedHAOptions } from './config/resolved.js';
import type { HARuntime } from './ha-runtime.js';
import { stoppedError } from './runtime/errors.js';
import { CrossDatabase } from './shard/cross-database.js';
import type { CrossTarget } from './shard/cross-database.js';
import { QueryThreads } from './shard/query-threads.js';

/** An application's databases by name. One for each Nest container, never static: applications share nothing. */
@Injectable()
export class HARegistry implements OnApplicationShutdown {
  private readonly threads = new QueryThreads();
  private readonly runtimes = new Map<string, HARuntime | undefined>();
  private readonly listeners: ((connection: string, runtime: HARuntime) => void)[] = [];

  /** Names of the databases, in the order in which they were made. */
  get connections(): string[] {
    return [...this.runtimes.keys()];
  }

  get(connection: string): HARuntime | undefined {
    return this.runtimes.get(connection);
  }

  /**
   * Makes a database under a name.
   *
   * @throws HAError `HA_DUPLICATE_CONNECTION` where another database has it.
   */
  add(connection: string, make: () => HARuntime): HARuntime {
    if (this.runtimes.has(connection)) {
      throw new HAError(
        'HA_DUPLICATE_CONNECTION',
        `Two databases are named '${connection}'. Give each HAModule.forRoot a connection of its own: { connection: 'orders' }.`,
        { details: { connection } },
      );
    }
    this.runtimes.set(connection, undefined);
    const runtime = make();
    this.runtimes.set(connection, runtime);
    for (const listener of this.listeners) listener(connection, runtime);
    return runtime;
  }

  /** Forgets a database, which has been closed: its name is free again. */
  remove(connection: string): void {
    this.runtimes.delete(connection);
  }

  /** What answers SELECTs of a database from several. */
  crossOf(options: ResolvedHAOptions): CrossDatabase {
    return new CrossDatabase({
      allowed: options.allowCrossDatabase,
      router: options.queryRouter,
      pragmas: options.pragmas.filter(({ name }) => OF_READS.has(name)).map(({ name, value }) => `${name} = ${value}`),
      targets: () =>
        [...this.runtimes].flatMap(([name, runtime]) => (runtime === undefined ? [] : [target(name, runtime)])),
      threads: this.threads,
    });
  }

  /** Starts what the first SELECT over several databases would wait for. */
  warm(): void {
    this.threads.warm();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.threads.close();
  }

  /** Calls the listener for every database, those that are made later too; always before they start. */
  each(listener: (connection: string, runtime: HARuntime) => void): void {
    this.listeners.push(listener);
    for (const [connection, runtime] of this.runtimes) if (runtime !== undefined) listener(connection, runtime);
  }
}

/** Pragmas that a SELECT may notice. */
const OF_READS = new Set([
  'cache_size',
  'case_sensitive_like',
  'full_column_names',
  'mmap_size',
  'short_column_names',
  'temp_store',
]);

function target(connection: string, runtime: HARuntime): CrossTarget {
  const { filename, memory } = runtime.options;
  return {
    connection,
    filename,
    memory,
    get launches() {
      return runtime.launches;
    },
    open: async () => {
      // What an application has stopped stays so.
      if (runtime.open === undefined && !runtime.autoStart) throw stoppedError();
      runtime.touch();
      return (runtime.open ?? (await runtime.start())).connections;
    },
  };
}
