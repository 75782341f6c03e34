import { Inject, Injectable } from '@nestjs/common';
import type { OnApplicationShutdown } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import type { HAInterceptor } from './changeset/interceptor.js';
import { HAError } from './common/ha-error.js';
import { getHAToken } from './common/tokens.js';
import { assemble } from './assemble.js';
import type { HAModuleOptionsWithDsn } from './ha-module-options.js';
import { HARegistry } from './ha-registry.js';
import type { HARuntime } from './ha-runtime.js';
import { HA_WIRING } from './ha-wiring.js';
import type { HAWiring } from './ha-wiring.js';
import { HALifecycle } from './ha.lifecycle.js';
import type { HAInterceptorProvider } from './interceptor-providers.js';
import { HADatabase } from './write/ha-database.js';

/** How {@link HADatabaseRegistry} opens databases. */
export interface HARegistryOptions {
  /** The DSN, or all options, of a database that is opened by its name alone: `registry.open('tenant-42')`. */
  readonly databases?: (connection: string) => string | HAModuleOptionsWithDsn;
  /**
   * Most files that are open at a time, of databases that are registered by a list or opened at run time. The one that was not
   * used for longest is closed, and opened again by its next call; it does not follow its stream meanwhile. Those that work,
   * are listened to, serve gRPC or feed change data capture, and those in memory, stay open, even if that makes more. Default:
   * no limit.
   */
  readonly maxOpen?: number;
}

/** A database of this application. */
export interface HARegisteredDatabase {
  readonly connection: string;
  readonly filename: string;
  readonly isOpen: boolean;
}

interface OpenedDatabase {
  readonly dsn: string;
  /** There once it is ready. */
  database: HADatabase | undefined;
  readonly ready: Promise<void>;
}

/** The databases of this application: opens, lists and closes them at run time. */
@Injectable()
export class HADatabaseRegistry implements OnApplicationShutdown {
  private readonly opened = new Map<string, OpenedDatabase>();
  /** Connections that `maxOpen` counts. */
  private readonly limited = new Set<string>();
  private make: HARegistryOptions['databases'];
  private maxOpen = Infinity;
  private pausing: Promise<void> | undefined;
  private again = false;

  constructor(
    @Inject(HARegistry) private readonly registry: HARegistry,
    @Inject(HA_WIRING) private readonly wiring: HAWiring,
    @Inject(ModuleRef) private readonly modules: ModuleRef,
  ) {
    registry.each((connection, runtime) => {
      runtime.events.subscribe(({ type }) => type === 'started' && this.limited.has(connection) && this.enforce());
    });
  }

  /** Takes over how databases are opened; called by the module. @internal */
  configure(connections: readonly string[], { databases, maxOpen }: HARegistryOptions): HARegistryOptions {
    if (maxOpen !== undefined && (!Number.isInteger(maxOpen) || maxOpen < 1)) {
      throw new HAError(
        'HA_OPTIONS_INVALID',
        `maxOpen: ${String(maxOpen)} is not allowed; allowed: a whole number from 1, or nothing for no limit.`,
      );
    }
    for (const connection of connections) this.limited.add(connection);
    this.make = databases ?? this.make;
    this.maxOpen = Math.min(this.maxOpen, maxOpen ?? Infinity);
    return { ...(databases === undefined ? {} : { databases }), ...(maxOpen === undefined ? {} : { maxOpen }) };
  }

  /** All databases that are registered, in the order in which they were made. */
  list(): HARegisteredDatabase[] {
    return this.registry.connections.flatMap((connection) => {
      const runtime = this.registry.get(connection);
      if (runtime === undefined) return [];
      return [{ connection, filename: runtime.options.filename, isOpen: runtime.open !== undefined }];
    });
  }

  /**
   * The database of a name, opened. One that is not registered is made, from what is given here or what `databases` of
   * `HAModule.forRoot([…], { databases })` says. It stays registered until {@link close}.
   *
   * @throws HAError `HA_UNKNOWN_DATABASE` where neither says how, `HA_DUPLICATE_CONNECTION` where the name has another DSN, and
   * what opening a database throws.
   */
  async open(connection: string, given?: string | HAModuleOptionsWithDsn): Promise<HADatabase> {
    const known = this.opened.get(connection);
    if (known === undefined && this.registry.get(connection) !== undefined) return this.registered(connection, given);
    const options = given === undefined ? undefined : asOptions(given);
    if (known !== undefined) {
      if (options !== undefined && options.dsn !== known.dsn) throw duplicate(connection);
      await known.ready;
      await this.startAgain(connection);
      return known.database as HADatabase;
    }
    return this.openNew(connection, options ?? asOptions(this.optionsOf(connection)));
  }

  /**
   * Closes a database and forgets it, where it was opened at run time; one that a module registers is closed for good.
   *
   * @throws HAError `HA_UNKNOWN_DATABASE`.
   */
  async close(connection: string): Promise<void> {
    const runtime = this.registry.get(connection);
    if (runtime === undefined) throw unknown(connection, this.registry.connections);
    const known = this.opened.get(connection);
    await known?.ready.catch(() => undefined);
    await runtime.close();
    if (known !== undefined) this.forget(connection);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.pausing;
    const runtimes = [...this.opened.keys()].map((connection) => this.registry.get(connection));
    await Promise.all(runtimes.map(async (runtime) => runtime?.close()));
  }

  private forget(connection: string): void {
    this.opened.delete(connection);
    this.limited.delete(connection);
    this.registry.remove(connection);
  }

  private optionsOf(connection: string): string | HAModuleOptionsWithDsn {
    if (this.make === undefined) throw unknown(connection, this.registry.connections);
    return this.make(connection);
  }

  private async registered(connection: string, given: unknown): Promise<HADatabase> {
    if (given !== undefined) throw duplicate(connection);
    await this.startAgain(connection);
    return this.modules.get<HADatabase>(getHAToken(connection), { strict: false });
  }

  /** Opens the file of one that was closed for others. */
  private async startAgain(connection: string): Promise<void> {
    const runtime = this.registry.get(connection);
    runtime?.touch();
    if (runtime?.open === undefined) await runtime?.start();
  }

  private async openNew(connection: string, options: HAModuleOptionsWithDsn): Promise<HADatabase> {
    const { interceptors = [], imports, isGlobal, connection: named = connection, ...rest } = options;
    if (named !== connection || imports !== undefined || isGlobal !== undefined || rest.grpcPort !== undefined) {
      throw new HAError(
        'HA_OPTIONS_INVALID',
        `The database '${connection}' is opened at run time: connection is its name, and imports, isGlobal and grpcPort count only for databases that HAModule.forRoot registers.`,
        { details: { connection } },
      );
    }
    const ready = this.interceptors(interceptors).then(async (made) => {
      let lifecycle: HALifecycle | undefined;
      const runtime = this.registry.add(connection, () => {
        const { runtime: assembled, targets } = assemble(
          connection,
          rest,
          this.wiring,
          this.modules,
          made,
          this.registry,
        );
        entry.database = new HADatabase(assembled);
        lifecycle = new HALifecycle(assembled, entry.database, targets);
        return assembled;
      });
      runtime.touch();
      await lifecycle?.onModuleInit();
      lifecycle?.onApplicationBootstrap();
    });
    const entry: OpenedDatabase = { dsn: rest.dsn, ready, database: undefined };
    // The name is taken at once, so that two calls open one.
    this.limited.add(connection);
    this.opened.set(connection, entry);
    try {
      await ready;
      return entry.database as unknown as HADatabase;
    } catch (error) {
      await this.registry.get(connection)?.close();
      this.forget(connection);
      throw error;
    }
  }

  private async interceptors(given: readonly HAInterceptorProvider[]): Promise<HAInterceptor[]> {
    const made: HAInterceptor[] = [];
    for (const one of given) made.push(await this.interceptor(one));
    return made;
  }

  private interceptor(one: HAInterceptorProvider): HAInterceptor | Promise<HAInterceptor> {
    if (typeof one === 'function') return this.modules.create(one);
    if (!('useFactory' in one)) return one;
    const { inject = [] } = one;
    const injected = inject.map((token) => this.modules.get(token as string, { strict: false }) as unknown);
    return one.useFactory(...injected);
  }

  /** Closes files until no more than `maxOpen` are open; one walk at a time. */
  private enforce(): void {
    this.again = true;
    this.pausing ??= this.pauseOldest().finally(() => (this.pausing = undefined));
  }

  private async pauseOldest(): Promise<void> {
    while (this.again) {
      this.again = false;
      // Those that start come from a call that is about to use them.
      await new Promise((resolve) => setImmediate(resolve));
      for (const runtime of this.tooMany()) await runtime.pause().catch(() => undefined);
    }
  }

  private tooMany(): HARuntime[] {
    const open = [...this.limited]
      .map((connection) => this.registry.get(connection))
      .filter((runtime): runtime is HARuntime => runtime?.open !== undefined)
      .sort((a, b) => a.lastUse - b.lastUse);
    const excess = Math.max(0, open.length - this.maxOpen);
    return open
      .slice(0, open.length - 1)
      .filter((runtime) => runtime.isPausable)
      .slice(0, excess);
  }
}

function asOptions(given: string | HAModuleOptionsWithDsn): HAModuleOptionsWithDsn {
  return typeof given === 'string' ? { dsn: given } : given;
}

function duplicate(connection: string): HAError {
  return new HAError(
    'HA_DUPLICATE_CONNECTION',
    `The database '${connection}' is registered already, with another DSN. Open it without one, or close it first.`,
    { details: { connection } },
  );
}

function unknown(connection: string, connections: readonly string[]): HAError {
  return new HAError(
    'HA_UNKNOWN_DATABASE',
    `No database is named '${connection}'; there are: ${connections.join(', ')}. Give its DSN, or tell HAModule.forRoot([…], { databases: (connection) => dsn }) how to make one.`,
    { details: { connection } },
  );
}
