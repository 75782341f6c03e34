import { readFileSync } from 'node:fs';
import { ServerCredentials, status } from '@grpc/grpc-js';
import type { Server as GrpcServer } from '@grpc/grpc-js';
import { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { ServerGrpc } from '@nestjs/microservices';
import { HealthImplementation } from 'grpc-health-check';
import { HAError } from '../../common/ha-error.js';
import { rpcStatus, withStatus } from './rpc-status.js';
import type { Handler } from './rpc-status.js';
import { refuse } from './query-stream.js';
import type { QueryCall } from './query-stream.js';
import { PACKAGE, SERVICE, serverDefinition } from '../proto.js';
import type { DatabaseService } from './database-service.js';

/** Where a server listens, and with which certificate. */
export interface GrpcAddress {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Paths of PEM files. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly ca?: string | undefined;
  /** Milliseconds of silence after which a caller is asked whether it is there, and that it may take to answer. Default 30000. */
  readonly keepalive?: number;
}

/** Statements may hold large values. */
const LARGEST_REQUEST = 64 * 1024 * 1024;
const KEEPALIVE_MS = 30_000;
/** What the health service speaks of: the server, and its service. */
const SERVED = ['', `${PACKAGE}.${SERVICE}`];
/** How long answers that are under way may take when the server ends, ms. */
const PATIENCE_MS = 5_000;
/** How long calls may take to end behind that, ms. */
const FAREWELL_MS = 1_000;

/**
 * Nest's gRPC transport with what it leaves open: the port that was taken, an error that says what to do where that fails,
 * health and reflection, and an end that does not wait for streams that never end by themselves.
 */
export class HAGrpcTransport extends ServerGrpc {
  private bound = 0;
  private readonly health = new HealthImplementation(Object.fromEntries(SERVED.map((name) => [name, 'SERVING'])));

  constructor(
    private readonly address: GrpcAddress,
    private readonly service: DatabaseService,
  ) {
    super({ package: PACKAGE, packageDefinition: serverDefinition() });
  }

  /** The port that it listens on. */
  get port(): number {
    return this.bound;
  }

  override async createClient(): Promise<GrpcServer> {
    const { host, port, keepalive = KEEPALIVE_MS } = this.address;
    const server = new Server({
      'grpc.max_receive_message_length': LARGEST_REQUEST,
      // What a caller that is gone left open ends with its connection.
      'grpc.keepalive_time_ms': keepalive,
      'grpc.keepalive_timeout_ms': keepalive,
    });
    const target = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const credentials = this.credentials();
    this.bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(target, credentials, (error, taken) => (error === null ? resolve(taken) : reject(error)));
    }).catch((error: Error) => {
      server.forceShutdown();
      throw cannotListen(target, error);
    });
    this.health.addToServer(server);
    new ReflectionService(serverDefinition()).addToServer(server);
    return server;
  }

  /** Finishes answers that are under way, tells those who are connected, and waits a little until they have heard it. */
  override async close(): Promise<void> {
    const server = this.grpcClient as GrpcServer | null | undefined;
    this.grpcClient = null;
    if (server === null || server === undefined) return;
    for (const name of SERVED) this.health.setStatus(name, 'NOT_SERVING');
    await this.service.streams.endAll('The server is shutting down.', PATIENCE_MS);
    const timer = setTimeout(() => server.forceShutdown(), FAREWELL_MS);
    await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    clearTimeout(timer);
  }

  /** What an application's guards, pipes and filters throw becomes a status. */
  override createServiceMethod(
    ...[handler, native, type]: Parameters<ServerGrpc['createServiceMethod']>
  ): ReturnType<ServerGrpc['createServiceMethod']> {
    return super.createServiceMethod(withStatus(handler as Handler), native, type);
  }

  /** Nest leaves what is thrown in front of `@GrpcStreamCall` to nobody, which ends the process. */
  override createStreamCallMethod(
    ...[handler, isResponseStream]: Parameters<ServerGrpc['createStreamCallMethod']>
  ): ReturnType<ServerGrpc['createStreamCallMethod']> {
    const method = super.createStreamCallMethod(handler, isResponseStream);
    return async (call, callback) => {
      try {
        await method(call, callback);
      } catch (error) {
        const { code, message } = rpcStatus(error);
        refuse(call as unknown as QueryCall, code, message);
      }
    };
  }

  private credentials(): ServerCredentials {
    const { cert, key, ca } = this.address;
    if (cert === undefined || key === undefined) return ServerCredentials.createInsecure();
    const pair = { cert_chain: read(cert), private_key: read(key) };
    return ServerCredentials.createSsl(ca === undefined ? null : read(ca), [pair], ca !== undefined);
  }
}

/** True for addresses that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new HAError(
      'HA_GRPC_SERVER',
      `The file '${path}' of the gRPC server's TLS cannot be read: ${(error as Error).message}.`,
      {
        cause: error,
        details: { path },
      },
    );
  }
}

function cannotListen(target: string, cause: Error & { code?: unknown }): HAError {
  return new HAError(
    'HA_GRPC_SERVER',
    `The gRPC server cannot listen on ${target}: ${cause.message}. Choose another grpcPort or grpcHost, or 0 for a free port.`,
    { cause, details: { target, status: cause.code ?? status.UNKNOWN } },
  );
}
