import { Module } from '@nestjs/common';
import type { DynamicModule, INestMicroservice, Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DatabaseController } from './database.controller.js';
import { DatabaseService } from './database-service.js';
import type { ServedDatabase } from './served-database.js';
import { ServedDatabases } from './served-database.js';
import { TokenCheck } from './token.js';
import { HAGrpcTransport, isLoopback } from './transport.js';
import type { GrpcAddress } from './transport.js';

/** What the databases that share a port agree on. */
export interface GrpcServerSettings extends GrpcAddress {
  readonly token: string | undefined;
}

/** The controller with its service, for an application or a microservice of its own. */
@Module({})
export class DatabaseServiceModule {
  static with(service: DatabaseService): DynamicModule {
    return {
      module: DatabaseServiceModule,
      controllers: [DatabaseController],
      providers: [{ provide: DatabaseService, useValue: service }],
    };
  }
}

/** A gRPC server for the databases of one port. It listens from the first to the last of them. */
export class HAGrpcServer {
  readonly databases = new ServedDatabases();
  readonly service: DatabaseService;
  private readonly transport: HAGrpcTransport;
  private microservice: INestMicroservice | undefined;
  private starting: Promise<void> | undefined;

  constructor(
    private readonly settings: GrpcServerSettings,
    private readonly logger: Logger,
  ) {
    this.service = new DatabaseService(this.databases, new TokenCheck(settings.token));
    this.transport = new HAGrpcTransport(settings, this.service);
  }

  /** The port that it listens on. */
  get port(): number {
    return this.transport.port;
  }

  /** Streams that are open. */
  get sessions(): number {
    return this.service.streams.size;
  }

  /** @throws HAError `HA_GRPC_SERVER` where it cannot listen. */
  start(): Promise<void> {
    return (this.starting ??= this.listen());
  }

  /** Ends it where no database is left. */
  async release(database: ServedDatabase): Promise<void> {
    this.databases.delete(database);
    if (this.databases.size === 0) await this.close();
  }

  async close(): Promise<void> {
    await this.starting?.catch(() => undefined);
    await this.microservice?.close();
    this.microservice = undefined;
  }

  private async listen(): Promise<void> {
    const { host, cert } = this.settings;
    const module = DatabaseServiceModule.with(this.service);
    this.microservice = await NestFactory.createMicroservice(module, {
      strategy: this.transport,
      // Else a failure ends the process.
      abortOnError: false,
    });
    await this.microservice.listen();
    this.logger.log(`gRPC listens on ${host}:${this.port}${cert === undefined ? '' : ' with TLS'}.`);
    const warning = openWarning({ ...this.settings, port: this.port });
    if (warning !== undefined) this.logger.warn(warning);
  }
}

/** What an operator should know of a server that lets everybody in; undefined where it does not. */
export function openWarning({ host, port, token, ca }: GrpcServerSettings): string | undefined {
  if (token !== undefined || ca !== undefined || isLoopback(host)) return undefined;
  return `Everybody who reaches ${host}:${port} over gRPC can read and write all databases there: set grpcToken, or listen on 127.0.0.1 (grpcHost).`;
}
