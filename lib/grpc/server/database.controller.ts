import { Controller, Inject } from '@nestjs/common';
import { GrpcMethod, GrpcStreamCall, RpcException } from '@nestjs/microservices';
import type { Metadata, ServerWritableStream } from '@grpc/grpc-js';
import { from, ignoreElements } from 'rxjs';
import type { Observable } from 'rxjs';
import { SERVICE } from '../proto.js';
import { CHUNK_BYTES } from './backup.js';
import { DatabaseService, statusOf } from './database-service.js';
import { drained } from './query-stream.js';
import type { QueryCall } from './query-stream.js';

interface Named {
  readonly replication_id: string;
}

type BytesCall = ServerWritableStream<Named, { data: Uint8Array }>;
type Bytes = AsyncIterable<Uint8Array>;

/**
 * `sql.v1.DatabaseService` for Nest. The token is checked inside of the handlers: a guard that throws in front of
 * `@GrpcStreamCall` is a rejection that nobody handles.
 */
@Controller()
export class DatabaseController {
  constructor(@Inject(DatabaseService) private readonly service: DatabaseService) {}

  @GrpcStreamCall(SERVICE, 'Query')
  query(call: QueryCall): Promise<void> {
    return this.service.query(call);
  }

  @GrpcMethod(SERVICE, 'DataSourceNames')
  dataSourceNames(_request: object, metadata: Metadata): { dsn: string[] } {
    this.admit(metadata);
    return { dsn: this.service.databases.dsns };
  }

  @GrpcMethod(SERVICE, 'ReplicationIDs')
  replicationIDs(_request: object, metadata: Metadata): { replication_id: string[] } {
    this.admit(metadata);
    return { replication_id: this.service.databases.names };
  }

  @GrpcMethod(SERVICE, 'Download')
  download(request: Named, metadata: Metadata, call: BytesCall): Observable<never> {
    return this.stream(metadata, call, (signal) => this.service.download(request.replication_id, signal));
  }

  @GrpcMethod(SERVICE, 'LatestSnapshot')
  latestSnapshot(request: Named, metadata: Metadata, call: BytesCall): Observable<never> {
    return this.stream(metadata, call, () => this.service.latestSnapshot(request.replication_id));
  }

  private admit(metadata: Metadata): void {
    const denied = this.service.denied(metadata);
    if (denied !== undefined) throw new RpcException({ ...denied });
  }

  /** Writes by hand, no faster than the caller reads: Nest would gather what it does not read. */
  private stream(
    metadata: Metadata,
    call: BytesCall,
    open: (signal: AbortSignal) => Bytes | Promise<Bytes>,
  ): Observable<never> {
    this.admit(metadata);
    return from(sendBytes(call, open)).pipe(ignoreElements());
  }
}

async function sendBytes(call: BytesCall, open: (signal: AbortSignal) => Bytes | Promise<Bytes>): Promise<void> {
  if (call.cancelled) return;
  const ended = new AbortController();
  call.once('cancelled', () => ended.abort());
  try {
    for await (const bytes of await open(ended.signal)) {
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        if (!call.write({ data: bytes.subarray(at, at + CHUNK_BYTES) })) await drained(call, ended.signal);
      }
    }
  } catch (error) {
    if (!ended.signal.aborted) throw new RpcException({ ...statusOf(error) });
  }
}
