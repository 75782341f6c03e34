import { status } from '@grpc/grpc-js';
import type { Metadata } from '@grpc/grpc-js';
import { HAError } from '../../common/ha-error.js';
import { backup } from './backup.js';
import { ParameterBinder } from './parameters.js';
import { QuerySession } from './query-session.js';
import { OpenStreams, refuse } from './query-stream.js';
import type { QueryCall } from './query-stream.js';
import type { ServedDatabases } from './served-database.js';
import type { TokenCheck } from './token.js';

/** Metadata by which a caller says that it knows the fields from 100 on. */
export const VERSION_KEY = 'ha-version';
/** Metadata by which a node says that it forwards to its leader. */
const FORWARDED_KEY = 'ha-forwarded';
/** What gRPC ends a call with. */
export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
}

/** What a server does, apart from how Nest calls it. */
export class DatabaseService {
  readonly streams = new OpenStreams();
  private readonly binder = new ParameterBinder();

  constructor(
    readonly databases: ServedDatabases,
    /** Admits nobody until it is set. */
    public token?: TokenCheck,
  ) {}

  /** Never fails: a handler of a stream that throws would end the process. */
  async query(call: QueryCall): Promise<void> {
    const denied = this.denied(call.metadata);
    if (denied !== undefined) {
      refuse(call, denied.code, denied.message);
      return;
    }
    const extended = call.metadata.get(VERSION_KEY).length > 0;
    const isForwarded = call.metadata.get(FORWARDED_KEY).length > 0;
    await this.streams.serve(call, new QuerySession(this.databases, this.binder, extended, isForwarded));
  }

  /** Why a call is refused; undefined where it is not. */
  denied(metadata: Metadata): GrpcStatus | undefined {
    if (this.token?.admits(metadata.get('authorization')) === true) return undefined;
    return { code: status.UNAUTHENTICATED, message: 'invalid authorization token' };
  }

  /** @throws HAError, see {@link statusOf}. */
  download(replicationID: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const served = this.databases.find(replicationID);
    const path = served.path();
    if (path === undefined) {
      throw new HAError('HA_UNAVAILABLE', `The database '${served.replicationID}' is not started.`, {
        retryable: true,
      });
    }
    return backup(path, signal);
  }

  /** @throws HAError, see {@link statusOf}. */
  async latestSnapshot(replicationID: string): Promise<AsyncIterable<Uint8Array>> {
    const { latestSnapshot, replicationID: name } = this.databases.find(replicationID);
    if (latestSnapshot === undefined) {
      throw new HAError('HA_UNIMPLEMENTED', 'This server stores no snapshots. Download gives a copy of the database.');
    }
    const snapshot = await latestSnapshot();
    if (snapshot !== undefined) return snapshot;
    throw new HAError(
      'HA_UNKNOWN_DATABASE',
      `No snapshot of '${name}' is stored yet. Download gives a copy of the database.`,
    );
  }
}

/** The status of gRPC for an error. */
export function statusOf(error: unknown): GrpcStatus {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof HAError ? CODES[error.code] : undefined;
  return { code: code ?? status.INTERNAL, message };
}

const CODES: Readonly<Partial<Record<string, number>>> = {
  HA_UNKNOWN_DATABASE: status.NOT_FOUND,
  HA_UNIMPLEMENTED: status.UNIMPLEMENTED,
  HA_UNAVAILABLE: status.UNAVAILABLE,
};
