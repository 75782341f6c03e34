import { Injectable } from '@nestjs/common';
import { HAError } from './common/ha-error.js';
import type { HARuntime } from './ha-runtime.js';

/** An application's databases by name. One for each Nest container, never static: applications share nothing. */
@Injectable()
export class HARegistry {
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

  /** Calls the listener for every database, those that are made later too; always before they start. */
  each(listener: (connection: string, runtime: HARuntime) => void): void {
    this.listeners.push(listener);
    for (const [connection, runtime] of this.runtimes) if (runtime !== undefined) listener(connection, runtime);
  }
}
