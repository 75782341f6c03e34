import { HAError } from '../common/ha-error.js';
import type { HALeader, LeaderTarget } from './leader.js';

/** What a caller gets whose call belonged to the leader. */
interface NotLeader {
  readonly status: 'error';
  readonly code: 'HA_NOT_LEADER';
  readonly message: string;
  readonly retryable: true;
  /** Where the leader is reached; absent while none is known. */
  readonly target?: LeaderTarget;
}

const FAILED_PRECONDITION = 9;

/** The part of Metadata of @grpc/grpc-js that is used here. */
interface GrpcMetadata {
  readonly internalRepr: object;
  set(name: string, value: string): void;
}

/** What a follower tells about a call that cannot be forwarded. */
export function notLeader(leader: HALeader, advice: string): NotLeader {
  const target = leader.target();
  const where = target === undefined ? 'No leader is known at this moment' : `The leader is ${target.text}`;
  return {
    status: 'error',
    code: 'HA_NOT_LEADER',
    message: `This node is not the leader, and only the leader writes. ${where}. ${advice} Nothing was done.`,
    retryable: true,
    ...(target === undefined ? {} : { target }),
  };
}

/** What a follower throws where there is no transport that would tell the caller. */
export function refusal(leader: HALeader): HAError {
  const { code, message, target } = notLeader(leader, 'Send the request there.');
  return new HAError(code, message, { retryable: true, details: { target } });
}

/**
 * The exception for a message of a microservice: a `RpcException`, whose error the transport carries to the caller. gRPC gets a
 * status code and metadata `ha-leader`.
 *
 * @param transport What the transport handed to Nest beside the message.
 */
export async function rpcException(leader: HALeader, transport: unknown): Promise<Error> {
  const error = notLeader(leader, 'Send the message there.');
  // Only an application that has microservices gets here, and so has the package.
  const { RpcException } = await load<{ RpcException: new (error: object) => Error }>('@nestjs/microservices');
  if (!isGrpcMetadata(transport)) return new RpcException(error);
  const answer = new (transport.constructor as new () => GrpcMetadata)();
  if (error.target !== undefined) answer.set('ha-leader', error.target.text);
  const { code, message } = error;
  return new RpcException({ code: FAILED_PRECONDITION, details: `${code}: ${message}`, metadata: answer });
}

/** The exception for a message of a web socket, which goes to the client as event `exception`. */
export async function wsException(leader: HALeader): Promise<Error> {
  const error = notLeader(leader, 'Connect there.');
  const { WsException } = await load<{ WsException: new (error: object) => Error }>('@nestjs/websockets');
  return new WsException(error);
}

function isGrpcMetadata(value: unknown): value is GrpcMetadata {
  return typeof value === 'object' && value !== null && 'internalRepr' in value && 'set' in value;
}

async function load<T>(name: string): Promise<T> {
  return (await import(name)) as T;
}
