import { Inject, Injectable, Logger } from '@nestjs/common';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { HAError } from './common/ha-error.js';
import { getHAToken } from './common/tokens.js';
import type { ResolvedHAOptions } from './config/resolved.js';
import type { GrpcServerSettings, HAGrpcServer } from './grpc/server/grpc-server.js';
import type { ServedDatabase } from './grpc/server/served-database.js';
import { HARegistry } from './ha-registry.js';
import type { HARuntime } from './ha-runtime.js';
import { HADatabase } from './write/ha-database.js';

/** A database that is to be served, and what it says about how. */
interface Candidate {
  readonly connection: string;
  readonly runtime: HARuntime;
  readonly served: ServedDatabase;
}

const PACKAGES = '@nestjs/microservices @grpc/grpc-js @grpc/proto-loader @grpc/reflection grpc-health-check';
/** Options that all databases of one port have to share. */
const SHARED = ['grpcHost', 'grpcToken', 'grpcTlsCert', 'grpcTlsKey', 'grpcTlsCa'] as const;

/**
 * Starts the gRPC servers that an application's databases ask for (`grpcPort`), when everything else has started; all
 * databases of one port share a server. They end in front of HTTP servers, so that no caller's write comes too late.
 */
@Injectable()
export class HAGrpcHost implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('HAModule');
  private readonly servers = new Map<string, HAGrpcServer>();
  /** The application serves them by itself. */
  private attached = false;

  constructor(
    @Inject(HARegistry) private readonly registry: HARegistry,
    @Inject(ModuleRef) private readonly modules: ModuleRef,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (this.attached) return;
    const candidates = this.candidates(({ options }) => options.grpcPort !== undefined);
    if (candidates.length === 0) return;
    const { HAGrpcServer } = await loadServer();
    for (const group of byPort(candidates)) {
      const server = new HAGrpcServer(settingsOf(group), this.logger);
      for (const { connection, served } of group) {
        server.databases.add(served);
        this.servers.set(connection, server);
      }
      await server.start();
      for (const { runtime, served } of group) {
        runtime.events.subscribe({ complete: () => void server.release(served) });
      }
    }
  }

  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([...new Set(this.servers.values())].map((server) => server.close()));
  }

  /** The server of a database; undefined where it has none. */
  serverOf(connection: string): HAGrpcServer | undefined {
    return this.servers.get(connection);
  }

  /** For an application that connects the server itself: all its databases, and what they say about it. */
  attach(): { readonly settings: GrpcServerSettings; readonly databases: readonly ServedDatabase[] } {
    this.attached = true;
    const candidates = this.candidates();
    return { settings: settingsOf(candidates), databases: candidates.map(({ served }) => served) };
  }

  /** Databases of this application that nobody has replaced by something else. */
  private candidates(isWanted: (runtime: HARuntime) => boolean = () => true): Candidate[] {
    return this.registry.connections.flatMap((connection) => {
      const runtime = this.registry.get(connection);
      if (runtime === undefined || !isWanted(runtime)) return [];
      const database: unknown = this.modules.get(getHAToken(connection), { strict: false });
      if (!(database instanceof HADatabase) || !database.isOpenedBy(runtime)) return [];
      return [{ connection, runtime, served: servedBy(runtime, database) }];
    });
  }
}

function byPort(candidates: readonly Candidate[]): Candidate[][] {
  const groups = new Map<number | undefined, Candidate[]>();
  for (const candidate of candidates) {
    const port = candidate.runtime.options.grpcPort;
    groups.set(port, [...(groups.get(port) ?? []), candidate]);
  }
  return [...groups.values()];
}

function servedBy(runtime: HARuntime, database: HADatabase): ServedDatabase {
  const { replicationID, filename, memory, grpcTimeout } = runtime.options;
  return {
    replicationID,
    dsn: memory ? filename : `file:${filename}`,
    path: () => runtime.open?.connections.path,
    database,
    timeout: grpcTimeout,
    latestSnapshot: runtime.isStandalone ? undefined : () => runtime.snapshotter.read(),
  };
}

function settingsOf(group: readonly Candidate[]): GrpcServerSettings {
  const [first, ...others] = group.map(({ runtime }) => runtime.options);
  if (first === undefined)
    throw new HAError('HA_GRPC_SERVER', 'There is no database to serve: import HAModule.forRoot(…).');
  for (const other of others) refuseDifference(first, other);
  return {
    host: first.grpcHost,
    port: first.grpcPort ?? 0,
    token: first.grpcToken,
    cert: first.grpcTlsCert,
    key: first.grpcTlsKey,
    ca: first.grpcTlsCa,
  };
}

function refuseDifference(first: ResolvedHAOptions, other: ResolvedHAOptions): void {
  const differs = SHARED.filter((name) => first[name] !== other[name]);
  if (differs.length === 0) return;
  throw new HAError(
    'HA_GRPC_SERVER',
    `The databases '${first.replicationID}' and '${other.replicationID}' share a gRPC port, but not ${differs.join(', ')}. Give both the same, or another grpcPort.`,
    { details: { options: differs } },
  );
}

async function loadServer(): Promise<typeof import('./grpc/server/grpc-server.js')> {
  try {
    return await import('./grpc/server/grpc-server.js');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new HAError(
      'HA_GRPC_SERVER',
      `grpcPort needs packages that are not installed: npm install ${PACKAGES} (${(error as Error).message}).`,
      { cause: error },
    );
  }
}
