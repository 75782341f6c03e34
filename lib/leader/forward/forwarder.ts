import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Exchange } from '../exchange.js';
import type { LeaderTarget } from '../leader.js';
import { bodyOf } from './body.js';
import type { ForwardBody } from './body.js';
import { dropField, requestFields } from './headers.js';
import { isIdempotent, leaderBroke, leaderSilent, leaderUnreachable } from './leader-exception.js';
import { relay } from './relay.js';

/** A host that is gone does not refuse connections, it is silent. */
const CONNECT_MS = 3_000;
/** Less than the 5 s after which a Node server closes an idle connection: a request must not meet that. */
const IDLE_MS = 4_000;
const MAX_IDLE_CONNECTIONS = 256;

/** What a forwarder goes by. */
export interface ForwarderSettings {
  /** Name of this node. */
  readonly node: string;
  /** Milliseconds without any progress after which the leader counts as silent. */
  readonly timeout: number;
}

/**
 * Sends requests to the leader over connections that it keeps. In order: the connection; the head and the body of the request,
 * as they come; the head of the answer, before which a failure is an exception for Nest; the body of the answer.
 */
export class Forwarder {
  private readonly http = new HttpAgent({ keepAlive: true, maxFreeSockets: MAX_IDLE_CONNECTIONS, timeout: IDLE_MS });
  private readonly https = new HttpsAgent({ keepAlive: true, maxFreeSockets: MAX_IDLE_CONNECTIONS, timeout: IDLE_MS });

  constructor(private readonly settings: ForwarderSettings) {}

  /**
   * Resolves when the head of the answer is on its way to the client; never, where the client goes before that.
   *
   * @throws HALeaderException where there is no answer. The request's body is untouched where the code is
   * `HA_LEADER_UNREACHABLE`.
   */
  forward(exchange: Exchange, target: LeaderTarget & { readonly http: string }): Promise<void> {
    const { response } = exchange;
    if (response.destroyed || response.closed) return new Promise(() => undefined);
    const body = bodyOf(exchange);
    return new Promise((resolve, reject) => {
      new Forwarding(exchange, body, target, this.settings.timeout).start(
        this.request(exchange, body, target.http),
        resolve,
        reject,
      );
    });
  }

  /** Closes the connections that are idle; those in use end with their requests. */
  close(): void {
    this.http.destroy();
    this.https.destroy();
  }

  private request(exchange: Exchange, body: ForwardBody, base: string): ClientRequest {
    const { protocol, hostname, port } = new URL(base);
    const isSecure = protocol === 'https:';
    const options: RequestOptions = {
      protocol,
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port,
      method: exchange.request.method,
      path: locationOf(base, exchange.path, true),
      agent: isSecure ? this.https : this.http,
      timeout: this.settings.timeout,
    };
    const outgoing = isSecure ? httpsRequest(options) : httpRequest(options);
    for (const [name, value] of fieldsFor(exchange, body, this.settings.node)) outgoing.setHeader(name, value);
    return outgoing;
  }
}

/**
 * Where a request goes at the leader: its URL, or only path and query of it.
 *
 * @param base The leader's address, maybe with a path in front of all others.
 */
export function locationOf(base: string, path: string, isRelative = false): string {
  const { origin, pathname } = new URL(base);
  return `${isRelative ? '' : origin}${pathname.replace(/\/+$/, '')}${path}`;
}

function fieldsFor(exchange: Exchange, body: ForwardBody, node: string): Map<string, string | readonly string[]> {
  const fields = requestFields(exchange, node);
  const length = exchange.request.headers['content-length'];
  if (body.kind !== 'bytes') {
    if (length !== undefined) fields.set('Content-Length', length);
    // By itself Node frames no body of a DELETE, and the leader would read it as the next request.
    else if (body.kind === 'stream') fields.set('Transfer-Encoding', 'chunked');
    return fields;
  }
  fields.set('Content-Length', String(body.bytes.length));
  if (body.plain) dropField(fields, 'content-encoding');
  const type = exchange.request.headers['content-type'];
  if (body.utf8 && type !== undefined && /;\s*charset=/i.test(type)) {
    dropField(fields, 'content-type');
    fields.set('Content-Type', type.replace(/(;\s*charset=)("[^"]*"|[^;\s]*)/i, '$1utf-8'));
  }
  return fields;
}

/** One request on its way. */
class Forwarding {
  private isConnected = false;
  private isAnswered = false;
  private isSilent = false;

  constructor(
    private readonly exchange: Exchange,
    private readonly body: ForwardBody,
    private readonly target: LeaderTarget,
    private readonly timeout: number,
  ) {}

  start(outgoing: ClientRequest, resolve: () => void, reject: (error: Error) => void): void {
    const { request, response } = this.exchange;
    const connecting = setTimeout(() => outgoing.destroy(), Math.min(CONNECT_MS, this.timeout));
    const abort = (): void => void outgoing.destroy();
    outgoing.once('socket', (socket) => {
      const begin = (): void => {
        clearTimeout(connecting);
        this.isConnected = true;
        this.send(outgoing);
      };
      if (outgoing.reusedSocket) begin();
      else socket.once(outgoing.protocol === 'https:' ? 'secureConnect' : 'connect', begin);
    });
    outgoing.on('timeout', () => this.onTimeout(outgoing));
    outgoing.once('response', (answer) => {
      this.isAnswered = true;
      if (this.isClientGone) answer.destroy();
      else {
        this.passOn(answer);
        resolve();
      }
    });
    outgoing.on('error', (error) => {
      clearTimeout(connecting);
      request.unpipe(outgoing);
      // What the client still sends is for nobody.
      if (this.isConnected && this.body.kind === 'stream') request.resume();
      response.off('close', abort);
      if (!this.isAnswered && !this.isClientGone) reject(this.failure(error));
    });
    // Also where the client goes in the middle of its request or of the answer.
    response.once('close', abort);
    outgoing.once('close', () => response.off('close', abort));
  }

  private get isClientGone(): boolean {
    const { response } = this.exchange;
    return response.destroyed || response.closed;
  }

  private send(outgoing: ClientRequest): void {
    const { body } = this;
    if (body.kind === 'stream') {
      this.exchange.request.pipe(outgoing);
      setImmediate(() => {
        if (!outgoing.headersSent && !outgoing.destroyed) outgoing.flushHeaders();
      });
    } else outgoing.end(body.kind === 'bytes' ? body.bytes : undefined);
  }

  private passOn(answer: IncomingMessage): void {
    // A stream of events may be silent for as long as it likes.
    answer.socket.setTimeout(0);
    relay(answer, this.exchange);
  }

  private onTimeout(outgoing: ClientRequest): void {
    if (this.isAnswered) return;
    const { request } = this.exchange;
    // It is the client that is slow, and not the leader.
    if (this.body.kind === 'stream' && !request.readableEnded && !outgoing.writableNeedDrain) {
      outgoing.socket?.setTimeout(this.timeout);
      return;
    }
    this.isSilent = true;
    outgoing.destroy();
  }

  private failure(cause: Error): Error {
    if (!this.isConnected) return leaderUnreachable(this.target, cause);
    const retryable = isIdempotent(this.exchange.request.method);
    return this.isSilent ? leaderSilent(this.timeout, retryable) : leaderBroke(cause, retryable);
  }
}
