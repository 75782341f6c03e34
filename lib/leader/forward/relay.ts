import { pipeline } from 'node:stream';
import type { IncomingMessage } from 'node:http';
import type { Exchange } from '../exchange.js';
import { endToEnd } from './headers.js';

/**
 * Answers what the leader answers: status, fields and body as they come, nothing gathered, nothing decompressed. Where the
 * leader dies on the way the client's connection is cut, so that half an answer never looks like a whole one; where the client
 * goes, the leader's connection is.
 */
export function relay(answer: IncomingMessage, exchange: Exchange): void {
  const { response } = exchange;
  exchange.takeOver();
  // What this node's middleware has set, the leader's has too: the answer is the leader's alone.
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  for (const { name, values } of endToEnd(answer).values()) {
    response.setHeader(name, values.length === 1 ? (values[0] as string) : values);
  }
  response.statusCode = answer.statusCode ?? 200;
  // HTTP/2 has no reason phrase.
  if (exchange.request.httpVersionMajor < 2) response.statusMessage = answer.statusMessage ?? '';
  pipeline(answer, response, () => undefined);
  // With the first bytes of the body where they are there already, else at once: a stream of events begins with silence.
  setImmediate(() => {
    if (!response.headersSent && !response.destroyed) response.flushHeaders();
  });
}

/** Answers that the client has to go to the leader itself. */
export function redirect(exchange: Exchange, status: number, location: string): void {
  const fields = exchange.headersSoFar();
  const { response } = exchange;
  exchange.takeOver();
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) response.setHeader(name, value);
  response.setHeader('Location', location);
  // Tomorrow another node may lead; 301 would be kept for good.
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Content-Length', '0');
  response.statusCode = status;
  response.end();
}
