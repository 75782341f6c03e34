import { HttpException, HttpStatus } from '@nestjs/common';
import type { HAErrorCode } from '../../common/ha-error.js';
import type { LeaderTarget } from '../leader.js';

const LOOP_DETECTED = 508;
/** Seconds. By then another leader may be there. */
const RETRY_AFTER = '1';

/**
 * A request that belonged to the leader and did not get there, or of which nobody knows whether it did. Nest's filters answer
 * it like any other `HttpException`; its body has `code` and `retryable`.
 */
export class HALeaderException extends HttpException {
  /** Seconds for the header `Retry-After`; undefined where waiting does not help. */
  readonly retryAfter: string | undefined;

  constructor(
    readonly code: HAErrorCode,
    status: number,
    message: string,
    /** Whether the same request may be sent again without doing anything twice. */
    readonly retryable: boolean,
    options: { readonly cause?: unknown; readonly waitingHelps?: boolean } = {},
  ) {
    super({ statusCode: status, message, code, retryable }, status, { cause: options.cause });
    this.retryAfter = options.waitingHelps === true ? RETRY_AFTER : undefined;
  }
}

/** Methods that do the same when they come twice (RFC 9110, 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export function isIdempotent(method: string | undefined): boolean {
  return IDEMPOTENT.has(method ?? 'GET');
}

export function leaderUnknown(cause?: unknown): HALeaderException {
  return new HALeaderException(
    'HA_LEADER_UNKNOWN',
    HttpStatus.SERVICE_UNAVAILABLE,
    'No leader is known at this moment: an election is under way, or the stream is away. Nothing was done; send the request again.',
    true,
    { cause, waitingHelps: true },
  );
}

export function leaderUnreachable(target: LeaderTarget, cause: unknown): HALeaderException {
  return new HALeaderException(
    'HA_LEADER_UNREACHABLE',
    HttpStatus.SERVICE_UNAVAILABLE,
    `The leader at ${target.text} does not take connections. Nothing was done; send the request again, by then another may lead.`,
    true,
    { cause, waitingHelps: true },
  );
}

export function leaderWithoutHttp(target: LeaderTarget): HALeaderException {
  return new HALeaderException(
    'HA_LEADER_UNREACHABLE',
    HttpStatus.SERVICE_UNAVAILABLE,
    `The leader's target '${target.text}' has no address for HTTP. Give leaderProvider http://host:port, beside host:port for gRPC.`,
    false,
  );
}

export function leaderLoop(target: LeaderTarget): HALeaderException {
  return new HALeaderException(
    'HA_LEADER_LOOP',
    LOOP_DETECTED,
    `Another node took this one for the leader, but the leader is ${target.text}: the request is not forwarded a second time. Two nodes that name each other (static), or a target that is not the node itself, do this for good; a change of the leader does it for a moment. Nothing was done.`,
    true,
    { waitingHelps: true },
  );
}

export function leaderSilent(ms: number, retryable: boolean): HALeaderException {
  return new HALeaderException(
    'HA_FORWARD_TIMEOUT',
    HttpStatus.GATEWAY_TIMEOUT,
    `The leader took the request and gave no sign for ${ms} ms (option forwardTimeout). It may have done what was asked: look before you send it again.`,
    retryable,
    { waitingHelps: true },
  );
}

export function leaderBroke(cause: unknown, retryable: boolean): HALeaderException {
  return new HALeaderException(
    'HA_FORWARD_UNKNOWN',
    HttpStatus.BAD_GATEWAY,
    'The connection to the leader broke in front of its answer. It may have done what was asked: look before you send it again.',
    retryable,
    { cause, waitingHelps: true },
  );
}

export function unreadableBody(type: string): HALeaderException {
  const what = type === '' ? 'a body without content-type' : type;
  return new HALeaderException(
    'HA_FORWARD_BODY',
    HttpStatus.INTERNAL_SERVER_ERROR,
    `The body of the request (${what}) was read in front of the guard, and cannot be sent to the leader any more. Set rawBody: true in NestFactory.create for JSON and forms; read uploads behind the guard (FileInterceptor, request.file()), not in middleware or a global hook.`,
    false,
  );
}

export function readBehind(sequence: number, cause: unknown): HALeaderException {
  return new HALeaderException(
    'HA_READ_BEHIND',
    HttpStatus.GATEWAY_TIMEOUT,
    `This node has not applied sequence ${sequence} yet, which the client wrote, and the read was not forwarded. Send it again, without forward=false, or to another node.`,
    true,
    { cause, waitingHelps: true },
  );
}
