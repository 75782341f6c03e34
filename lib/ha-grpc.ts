import { Logger, Module } from '@nestjs/common';
import type { DynamicModule, INestApplicationContext } from '@nestjs/common';
import { DEFAULT_CONNECTION } from './common/tokens.js';
import { HAError } from './common/ha-error.js';
import { HAGrpcHost } from './ha-grpc-host.js';
import { DatabaseController } from './grpc/server/database.controller.js';
import { DatabaseService } from './grpc/server/database-service.js';
import { openWarning } from './grpc/server/grpc-server.js';
import { ServedDatabases } from './grpc/server/served-database.js';
import { TokenCheck } from './grpc/server/token.js';
import { HAGrpcTransport } from './grpc/server/transport.js';

export { HARemoteDatabase } from './grpc/client/remote-database.js';
export type { HARemoteConnection, HARemoteOptions } from './grpc/client/remote-database.js';
export { HARemoteModule, InjectHARemote, getHARemoteToken } from './grpc/client/remote.module.js';
export type { HARemoteModuleOptions } from './grpc/client/remote.module.js';

/** The gRPC controller for an application that connects the server itself, with {@link haGrpcOptions}. */
@Module({})
export class HAGrpcModule {
  static forRoot(): DynamicModule {
    return {
      module: HAGrpcModule,
      controllers: [DatabaseController],
      // Its databases and token are known when all modules are made: haGrpcOptions adds them.
      providers: [{ provide: DatabaseService, useFactory: () => new DatabaseService(new ServedDatabases()) }],
      exports: [DatabaseService],
    };
  }
}

/** What `connectMicroservice` takes. */
export interface HAGrpcOptions {
  readonly strategy: HAGrpcTransport;
}

/**
 * Options to connect the gRPC server of an application's databases to the application itself. The application imports
 * {@link HAGrpcModule}, and no other server is started. With `inheritAppConfig` the application's global guards,
 * interceptors, pipes and filters apply to all calls of it; without, none of them do. A call that a guard refuses ends with
 * `PERMISSION_DENIED`.
 *
 * @example
 * app.connectMicroservice(haGrpcOptions(app), { inheritAppConfig: true });
 * await app.startAllMicroservices();
 * @param address Instead of `grpcHost` and `grpcPort` of the databases.
 */
export function haGrpcOptions(
  app: INestApplicationContext,
  address: { readonly host?: string; readonly port?: number } = {},
): HAGrpcOptions {
  const { settings, databases } = app.get(HAGrpcHost, { strict: false }).attach();
  const service = serviceOf(app);
  service.token = new TokenCheck(settings.token);
  for (const database of databases) service.databases.add(database);
  const places = { ...settings, ...address };
  const warning = openWarning(places);
  if (warning !== undefined) new Logger('HAModule').warn(warning);
  return { strategy: new HAGrpcTransport(places, service) };
}

/** The port on which a database is served; undefined where it is not. */
export function haGrpcPort(app: INestApplicationContext, connection: string = DEFAULT_CONNECTION): number | undefined {
  return app.get(HAGrpcHost, { strict: false }).serverOf(connection)?.port;
}

function serviceOf(app: INestApplicationContext): DatabaseService {
  try {
    return app.get(DatabaseService, { strict: false });
  } catch (error) {
    throw new HAError(
      'HA_GRPC_SERVER',
      'haGrpcOptions needs the controller in the application: import HAGrpcModule.forRoot() in its module.',
      { cause: error },
    );
  }
}
