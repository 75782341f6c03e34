import type { ModuleMetadata, Provider, Type } from '@nestjs/common';
import type { HACDCRegistration, HACDCTarget } from './cdc/target.js';
import type { HAOptions } from './config/options.js';
import type { HAInterceptorProvider } from './interceptor-providers.js';
import type { ConfigureConnection } from './sqlite/connection.js';

/** Options of a database: those of the options table, and those that only code can give. */
export interface HAModuleOptions extends HAOptions {
  /** Name of the database, where an application has several: `@InjectHA('orders')`. Default `default`. */
  connection?: string;
  /** Whether the database can be injected everywhere without importing the module again. Default true. */
  isGlobal?: boolean;
  /**
   * Decide on every transaction of the stream, in this order: classes that Nest injects into, instances, or
   * `{ useFactory, inject }`. All nodes have to have the same.
   */
  interceptors?: readonly HAInterceptorProvider[];
  /** Modules whose exports the interceptors inject. */
  imports?: ModuleMetadata['imports'];
  /** Called for every SQLite connection: register functions, collations or extensions on it. */
  configure?: ConfigureConnection;
  /**
   * Providers that receive every change of the database as Debezium events: classes, or with settings
   * `{ target, name, snapshot, … }`. A class that no module provides is made for it.
   */
  cdc?: readonly (Type<HACDCTarget> | HACDCRegistration)[];
  /** How often connecting to NATS is tried again at start. Default 10. */
  retryAttempts?: number;
  /** Milliseconds between these tries. Default 3000. */
  retryDelay?: number;
}

/** Options that name the database too. */
export type HAModuleOptionsWithDsn = HAModuleOptions & {
  /** `file:my.db?name=node1&…`, a path, or `:memory:`. */
  dsn: string;
};

/**
 * What an async factory gives; `connection`, `isGlobal` and `interceptors` stay outside, for their tokens must exist before it
 * runs.
 */
export type HAFactoryOptions = Omit<HAModuleOptionsWithDsn, 'connection' | 'isGlobal' | 'interceptors' | 'imports'>;

/** A class that makes options, for `useClass` and `useExisting`. */
export interface HAOptionsFactory {
  createHAOptions(connection: string): HAFactoryOptions | Promise<HAFactoryOptions>;
}

/** Options that other providers make. */
export interface HAModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  connection?: string;
  isGlobal?: boolean;
  /** As in {@link HAModuleOptions}; they inject what `imports` and `extraProviders` have. */
  interceptors?: readonly HAInterceptorProvider[];
  inject?: NonNullable<Extract<Provider, { inject?: unknown }>['inject']>;
  // oxlint-disable-next-line typescript/no-explicit-any -- what is injected is the caller's affair, as in all Nest modules
  useFactory?: (...args: any[]) => HAFactoryOptions | Promise<HAFactoryOptions>;
  useClass?: Type<HAOptionsFactory>;
  useExisting?: Type<HAOptionsFactory>;
  extraProviders?: Provider[];
}
