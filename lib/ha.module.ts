import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { HACoreModule } from './ha-core.module.js';
import type { HAModuleAsyncOptions, HAModuleOptions, HAModuleOptionsWithDsn } from './ha-module-options.js';

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
  static forRoot(dsn: string | HAModuleOptionsWithDsn, options: HAModuleOptions = {}): DynamicModule {
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
