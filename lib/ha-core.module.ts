import { Module } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import type { DynamicModule, Provider } from '@nestjs/common';
import { assemble } from './assemble.js';
import type { Assembly } from './assemble.js';
import type { NestTargets } from './cdc/nest-targets.js';
import { DEFAULT_CONNECTION, getHALeaderToken, getHAToken, partToken } from './common/tokens.js';
import { HAError } from './common/ha-error.js';
import type {
  HAFactoryOptions,
  HAModuleAsyncOptions,
  HAModuleOptionsWithDsn,
  HAOptionsFactory,
} from './ha-module-options.js';
import type { HAInterceptor } from './changeset/interceptor.js';
import { interceptorProviders } from './interceptor-providers.js';
import type { HAInterceptorProvider } from './interceptor-providers.js';
import { HARegistry } from './ha-registry.js';
import type { HARuntime } from './ha-runtime.js';
import { HASharedModule } from './ha-shared.module.js';
import { HA_WIRING } from './ha-wiring.js';
import type { HAWiring } from './ha-wiring.js';
import { HALifecycle } from './ha.lifecycle.js';
import { ConsistentReadInterceptor } from './leader/consistent-read.interceptor.js';
import { HALeader } from './leader/leader.js';
import { LeaderGuard } from './leader/leader-guard.js';
import { leaderProviders } from './leader-providers.js';
import { ReplicationPublisher } from './publish/replication-publisher.js';
import { ReplicationSubscriber } from './subscribe/replication-subscriber.js';
import { checkAsyncOptions } from './resolve-module-options.js';
import { HASnapshotter } from './snapshot/snapshotter.js';
import { HADatabase } from './write/ha-database.js';

/** The wiring behind {@link HAModule}: one dynamic module for each database. */
@Module({})
export class HACoreModule {
  /** @param wiring Instead of the application's: see {@link HAWiring}. */
  static forRoot(options: HAModuleOptionsWithDsn, wiring?: HAWiring): DynamicModule {
    const { connection = DEFAULT_CONNECTION, isGlobal = true, interceptors = [], imports = [], ...rest } = options;
    const given = { provide: partToken('options', connection), useValue: rest };
    const module = build(connection, isGlobal, given, interceptors, wiring);
    return { ...module, imports: [...imports, ...(module.imports ?? [])] };
  }

  static forRootAsync(options: HAModuleAsyncOptions): DynamicModule {
    checkAsyncOptions(options);
    const { connection = DEFAULT_CONNECTION, isGlobal = true, imports = [], extraProviders = [] } = options;
    const module = build(connection, isGlobal, asyncOptions(connection, options), options.interceptors ?? []);
    const maker = options.useClass === undefined ? [] : [options.useClass];
    return {
      ...module,
      imports: [...imports, ...(module.imports ?? [])],
      providers: [...extraProviders, ...maker, ...(module.providers ?? [])],
    };
  }
}

function build(
  connection: string,
  global: boolean,
  options: Provider,
  interceptors: readonly HAInterceptorProvider[],
  own?: HAWiring,
): DynamicModule {
  const providers: Provider[] = [
    options,
    {
      provide: partToken('assembly', connection),
      // Whoever gets the database has the interceptors behind it: nothing is consumed without them.
      inject: [
        partToken('options', connection),
        HARegistry,
        HA_WIRING,
        ModuleRef,
        partToken('interceptors', connection),
      ],
      useFactory: (
        given: HAFactoryOptions,
        registry: HARegistry,
        wiring: HAWiring,
        modules: ModuleRef,
        interceptors: readonly HAInterceptor[],
      ) => createRuntime(connection, given, own ?? wiring, registry, modules, interceptors),
    },
    {
      provide: partToken('runtime', connection),
      inject: [partToken('assembly', connection)],
      useFactory: ({ runtime }: Assembly) => runtime,
    },
    {
      provide: partToken('lifecycle', connection),
      inject: [partToken('assembly', connection), getHAToken(connection)],
      useFactory: ({ runtime, targets }: Assembly, database: unknown) => new HALifecycle(runtime, database, targets),
    },
    part('publisher', connection, (runtime) => runtime.publisher),
    part('subscriber', connection, (runtime) => runtime.subscriber),
    part('snapshotter', connection, (runtime) => runtime.snapshotter),
    part('leader', connection, (runtime) => runtime.leader),
    part('database', connection, (runtime) => new HADatabase(runtime)),
    ...leaderProviders(connection),
    ...(connection === DEFAULT_CONNECTION ? aliases() : []),
  ];
  const hidden = new Set([
    partToken('options', connection),
    partToken('assembly', connection),
    partToken('runtime', connection),
  ]);
  return {
    module: HACoreModule,
    global,
    imports: [HASharedModule],
    providers: [...interceptorProviders(connection, interceptors), ...providers],
    exports: providers.map(tokenOf).filter((token) => typeof token !== 'string' || !hidden.has(token)),
  };
}

/** The default database can be injected by its class too. */
function aliases(): Provider[] {
  return [
    { provide: HADatabase, useExisting: getHAToken() },
    { provide: ReplicationPublisher, useExisting: partToken('publisher') },
    { provide: ReplicationSubscriber, useExisting: partToken('subscriber') },
    { provide: HASnapshotter, useExisting: partToken('snapshotter') },
    { provide: HALeader, useExisting: getHALeaderToken() },
    { provide: LeaderGuard, useExisting: partToken('leaderGuard') },
    { provide: ConsistentReadInterceptor, useExisting: partToken('consistentReadInterceptor') },
  ];
}

function part(
  name: 'publisher' | 'subscriber' | 'snapshotter' | 'leader' | 'database',
  connection: string,
  make: (runtime: HARuntime) => unknown,
): Provider {
  return { provide: partToken(name, connection), inject: [partToken('runtime', connection)], useFactory: make };
}

function tokenOf(provider: Provider): string | symbol | (new (...args: never[]) => unknown) {
  return (typeof provider === 'function' ? provider : provider.provide) as string;
}

function createRuntime(
  connection: string,
  given: HAFactoryOptions | undefined,
  wiring: HAWiring,
  registry: HARegistry,
  modules: ModuleRef,
  interceptors: readonly HAInterceptor[],
): Assembly {
  let targets: NestTargets | undefined;
  const runtime = registry.add(connection, () => {
    const made = assemble(connection, given, wiring, modules, interceptors, registry);
    targets = made.targets;
    return made.runtime;
  });
  return { runtime, targets: targets as NestTargets };
}

function asyncOptions(connection: string, options: HAModuleAsyncOptions): Provider {
  const provide = partToken('options', connection);
  const { useFactory, useClass, useExisting, inject = [] } = options;
  if (useFactory !== undefined) return { provide, useFactory, inject };
  const factory = useClass ?? useExisting;
  if (factory === undefined) {
    throw new HAError(
      'HA_OPTIONS_INVALID',
      'HAModule.forRootAsync needs useFactory, useClass or useExisting to make its options.',
    );
  }
  return { provide, inject: [factory], useFactory: (maker: HAOptionsFactory) => maker.createHAOptions(connection) };
}
