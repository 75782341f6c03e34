import type { IncomingMessage } from 'node:http';
import { headerOf } from '../exchange.js';
import type { Exchange } from '../exchange.js';
import { unreadableBody } from './leader-exception.js';
import { exactForm, exactJson } from './serialize.js';

/**
 * The body of a request for the leader.
 *
 * - `none`: there is none.
 * - `stream`: nobody has read it yet; it flows through as it comes, whatever its size.
 * - `bytes`: it was read. `plain` says that its `content-encoding` no longer holds, `utf8` that its charset is UTF-8 now.
 */
export type ForwardBody =
  | { readonly kind: 'none' }
  | { readonly kind: 'stream' }
  | { readonly kind: 'bytes'; readonly bytes: Buffer; readonly plain: boolean; readonly utf8: boolean };

/**
 * Finds the body of a request, or makes it again from what a parser left of it, so that the leader reads the same.
 *
 * @throws HALeaderException `HA_FORWARD_BODY` where it was read, and cannot be had again.
 */
export function bodyOf(exchange: Exchange): ForwardBody {
  const { request, framework, rawBody, body } = exchange;
  if (!hasBody(request)) return { kind: 'none' };
  if (!request.readableDidRead) return { kind: 'stream' };
  // Fastify's parsers never decompress: what they gave as bytes is what came. Those of Express always do.
  const untouched = framework === 'fastify';
  if (Buffer.isBuffer(body)) return { kind: 'bytes', bytes: body, plain: !untouched, utf8: false };
  if (Buffer.isBuffer(rawBody)) return { kind: 'bytes', bytes: rawBody, plain: true, utf8: false };
  const text = textOf(exchange);
  if (text !== undefined) return { kind: 'bytes', bytes: Buffer.from(text, 'utf8'), plain: true, utf8: true };
  throw unreadableBody(mediaType(request));
}

/** RFC 9112, 6.3: a request without both has none; HTTP/2 says so at the end of the head. */
function hasBody(request: IncomingMessage): boolean {
  const { headers } = request;
  if (headers['transfer-encoding'] !== undefined) return true;
  if (headers['content-length'] !== undefined) return Number(headers['content-length']) > 0;
  const { stream } = request as { stream?: { endAfterHeaders?: boolean } };
  return request.httpVersionMajor >= 2 && stream?.endAfterHeaders !== true;
}

/** The text that a parser read, made again from what it made of it. */
function textOf(exchange: Exchange): string | undefined {
  const { body, request, framework } = exchange;
  const type = mediaType(request);
  try {
    if (type === 'application/x-www-form-urlencoded') return exactForm(body, framework === 'express');
    if (type === 'application/json' || type.endsWith('+json')) return exactJson(body);
    return typeof body === 'string' ? body : undefined;
  } catch {
    // It is nested too deeply for this stack.
    return undefined;
  }
}

function mediaType(request: IncomingMessage): string {
  return (headerOf(request.headers, 'content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}
