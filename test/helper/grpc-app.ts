import type { INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { HAGrpcHost } from '../../lib/ha-grpc-host.js';
import { HAModule } from '../../lib/ha.module.js';
import type { HAModuleOptions } from '../../lib/ha-module-options.js';
import type { HAGrpcServer } from '../../lib/grpc/server/grpc-server.js';
import { getHAToken } from '../../lib/common/tokens.js';
import type { HADatabase } from '../../lib/write/ha-database.js';
import { onCleanup } from './cluster.js';
import { ProtoClient } from './grpc-client.js';

/** An application with its gRPC server; closed behind the test. */
export class GrpcApp {
  private constructor(readonly context: INestApplicationContext) {}

  /** @param databases DSN and options; each listens on a free port of 127.0.0.1 unless it says otherwise. */
  static async start(...databases: (HAModuleOptions & { dsn: string })[]): Promise<GrpcApp> {
    const imports = databases.map((database) => HAModule.forRoot({ grpcPort: 0, grpcHost: '127.0.0.1', ...database }));
    // It is made before it starts: what has started is closed also where the rest fails.
    const context = await Test.createTestingModule({ imports }).compile();
    onCleanup(() => context.close());
    return new GrpcApp(await context.init());
  }

  db(connection?: string): HADatabase {
    return this.context.get<HADatabase>(getHAToken(connection));
  }

  server(connection = 'default'): HAGrpcServer {
    const server = this.context.get(HAGrpcHost, { strict: false }).serverOf(connection);
    if (server === undefined) throw new Error(`There is no server of '${connection}'.`);
    return server;
  }

  target(connection?: string): string {
    return `127.0.0.1:${this.server(connection).port}`;
  }

  client(settings?: ConstructorParameters<typeof ProtoClient>[1], connection?: string): ProtoClient {
    const client = new ProtoClient(this.target(connection), settings);
    onCleanup(() => client.close());
    return client;
  }
}
