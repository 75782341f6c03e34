import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { DEFAULT_CONNECTION } from './common/tokens.js';
import { HACoreModule } from './ha-core.module.js';
import { HADatabaseRegistry } from './ha-database-registry.js';
import type { HARegistryOptions } from './ha-database-registry.js';
import type { HAModuleAsyncOptions, HAModuleOptions, HAModuleOptionsWithDsn } from './ha-module-options.js';
import { HASharedModule } from './ha-shared.module.js';

/** Makes an application's SQLite database highly available. */
@Module({})
export class HAModule {
  /**
   * Registers a database.
   *
   * @param dsn `file:my.db?name=node1&replicationURL=nats://…`, a path, or `:memory:`; or all options in one object.
   * @example
   * HAModule.forRoot('file:my.db?name=node1&natsPort=4222')
   */
  static forRoot(dsn: string, options?: HAModuleOptions): DynamicModule;
  static forRoot(options: HAModuleOptionsWithDsn): DynamicModule;
  /**
   * Registers many databases at once, each with a `connection` of its own, and says how {@link HADatabaseRegistry} opens more.
   *
   * @example
   * HAModule.forRoot([{ connection: 'main', dsn: 'file:main.db' }], { databases: (name) => `file:${name}.db`, maxOpen: 100 })
   */
  static forRoot(databases: readonly HAModuleOptionsWithDsn[], registry?: HARegistryOptions): DynamicModule;
  static forRoot(
    dsn: string | HAModuleOptionsWithDsn | readonly HAModuleOptionsWithDsn[],
    options: HAModuleOptions | HARegistryOptions = {},
  ): DynamicModule {
    if (Array.isArray(dsn)) return many(dsn as readonly HAModuleOptionsWithDsn[], options as HARegistryOptions);
    return this.one(dsn as string | HAModuleOptionsWithDsn, options as HAModuleOptions);
  }

  private static one(dsn: string | HAModuleOptionsWithDsn, options: HAModuleOptions): DynamicModule {
    // Without types a DSN may be missing, where an environment variable is: the options say so, with what to do.
    const all = typeof dsn === 'object' ? dsn : { ...options, dsn };
    return facade(HACoreModule.forRoot(all));
  }

  /** Registers a database whose options other providers make. */
  static forRootAsync(options: HAModuleAsyncOptions): DynamicModule {
    return facade(HACoreModule.forRootAsync(options));
  }
}

/** Where it is not global, importers of the facade get what the core exports. */
function facade(core: DynamicModule): DynamicModule {
  return { module: HAModule, imports: [core], exports: [core] };
}

function many(databases: readonly HAModuleOptionsWithDsn[], options: HARegistryOptions): DynamicModule {
  const cores = databases.map((one) => HACoreModule.forRoot(one));
  const connections = databases.map(({ connection = DEFAULT_CONNECTION }) => connection);
  return {
    module: HAModule,
    imports: [HASharedModule, ...cores],
    providers: [
      {
        provide: `nestjs-ha:databases:${connections.join()}`,
        inject: [HADatabaseRegistry],
        useFactory: (registry: HADatabaseRegistry) => registry.configure(connections, options),
      },
    ],
    exports: cores,
  };
}
