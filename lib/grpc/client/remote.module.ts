import { Inject, Module } from '@nestjs/common';
import type { DynamicModule, OnApplicationShutdown } from '@nestjs/common';
import { DEFAULT_CONNECTION } from '../../common/tokens.js';
import { HARemoteDatabase } from './remote-database.js';
import type { HARemoteOptions } from './remote-database.js';

/** Options of a remote database in an application. */
export interface HARemoteModuleOptions extends HARemoteOptions {
  /** Name of the database, where an application has several: `@InjectHARemote('orders')`. Default `default`. */
  readonly connection?: string;
  /** Whether it can be injected everywhere. Default true. */
  readonly isGlobal?: boolean;
}

/** The injection token of a remote database. */
export function getHARemoteToken(connection: string = DEFAULT_CONNECTION): string {
  return `nestjs-ha:remote:${connection}`;
}

/** Injects a remote database by its name. */
export function InjectHARemote(connection?: string): ParameterDecorator & PropertyDecorator {
  return Inject(getHARemoteToken(connection));
}

/** A database of another process, for applications that keep no copy of their own. */
@Module({})
export class HARemoteModule {
  /**
   * @example
   * HARemoteModule.forRoot({ url: 'http://db:5001', token: process.env.TOKEN, replicationID: 'my.db' })
   */
  static forRoot(options: HARemoteModuleOptions): DynamicModule {
    const { connection = DEFAULT_CONNECTION, isGlobal = true, ...remote } = options;
    const token = getHARemoteToken(connection);
    const alias = connection === DEFAULT_CONNECTION ? [{ provide: HARemoteDatabase, useExisting: token }] : [];
    return {
      module: HARemoteModule,
      global: isGlobal,
      providers: [
        { provide: token, useFactory: () => new HARemoteDatabase(remote) },
        {
          provide: `${token}:closing`,
          inject: [token],
          useFactory: (database: HARemoteDatabase): OnApplicationShutdown => ({
            onApplicationShutdown: () => database.close(),
          }),
        },
        ...alias,
      ],
      exports: [token, ...alias.map(({ provide }) => provide)],
    };
  }
}
