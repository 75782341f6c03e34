import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { ArgumentsHost } from '@nestjs/common';

/** A request over HTTP and its answer, alike with Express and Fastify. */
export interface Exchange {
  readonly framework: 'express' | 'fastify';
  /** As Node received it. */
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Path and query as the client sent them, in front of any rewriting. */
  readonly path: string;
  /** What a parser made of the body; undefined where none did. */
  readonly body: unknown;
  /** The body's bytes, decompressed, where the application keeps them (`rawBody: true`). */
  readonly rawBody: Buffer | undefined;
  /** Host that the client asked for. */
  readonly host: string | undefined;
  readonly protocol: 'http' | 'https';
  /** Headers that middleware, hooks or filters have set on the answer so far. */
  headersSoFar(): OutgoingHttpHeaders;
  setHeader(name: string, value: string): void;
  /** From now on the answer is written to {@link response}, and the framework keeps out. */
  takeOver(): void;
}

interface ExpressRequest extends IncomingMessage {
  originalUrl?: string;
  body?: unknown;
  rawBody?: Buffer;
}

interface FastifyRequest {
  raw: IncomingMessage;
  originalUrl?: string;
  body?: unknown;
  rawBody?: Buffer;
}

interface FastifyReply {
  raw: ServerResponse;
  hijack(): void;
  header(name: string, value: string): void;
  getHeaders(): OutgoingHttpHeaders;
}

/** What Nest hands to a guard or an interceptor, as one thing. */
export function exchangeOf(host: ArgumentsHost): Exchange {
  const http = host.switchToHttp();
  const request = http.getRequest<ExpressRequest | FastifyRequest>();
  const response = http.getResponse<ServerResponse | FastifyReply>();
  return 'raw' in request && 'hijack' in response
    ? ofFastify(request, response)
    : ofExpress(request as ExpressRequest, response as ServerResponse);
}

/** A header of the request that can stand there once; the first where it was sent several times. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function ofExpress(request: ExpressRequest, response: ServerResponse): Exchange {
  return {
    framework: 'express',
    ...common(request, response),
    path: pathOf(request.originalUrl ?? request.url ?? '/'),
    body: request.body,
    rawBody: request.rawBody,
    headersSoFar: () => response.getHeaders(),
    setHeader: (name, value) => void response.setHeader(name, value),
    takeOver: () => undefined,
  };
}

function ofFastify(request: FastifyRequest, reply: FastifyReply): Exchange {
  return {
    framework: 'fastify',
    ...common(request.raw, reply.raw),
    path: pathOf(request.originalUrl ?? request.raw.url ?? '/'),
    body: request.body,
    rawBody: request.rawBody,
    headersSoFar: () => ({ ...reply.raw.getHeaders(), ...reply.getHeaders() }),
    setHeader: (name, value) => reply.header(name, value),
    takeOver: () => reply.hijack(),
  };
}

function common(
  request: IncomingMessage,
  response: ServerResponse,
): Pick<Exchange, 'request' | 'response' | 'host' | 'protocol'> {
  return {
    request,
    response,
    // HTTP/2 has it as a pseudo-header.
    host: headerOf(request.headers, ':authority') ?? request.headers.host,
    protocol: (request.socket as Partial<TLSSocket> | undefined)?.encrypted === true ? 'https' : 'http',
  };
}

/** A request line may hold a whole URL (RFC 9112, 3.2.2): only its path and query are the request's. */
function pathOf(url: string): string {
  if (url.startsWith('/')) return url;
  try {
    const { pathname, search } = new URL(url);
    return pathname + search;
  } catch {
    return '/';
  }
}
