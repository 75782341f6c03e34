import type { IncomingMessage } from 'node:http';
import { headerOf } from '../exchange.js';
import type { Exchange } from '../exchange.js';

/** Marks a request that another node has forwarded; its value is that node's name. */
export const FORWARDED_BY = 'x-ha-forwarded-by';

/** Header fields in the order and spelling in which they came; a name that came several times has several values. */
export type HeaderFields = ReadonlyMap<string, { readonly name: string; readonly values: readonly string[] }>;

/** RFC 9110, 7.6.1, and what is customary: they belong to one connection. */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];

/** Made anew for the connection to the leader. */
const OWN = [
  'host',
  'content-length',
  'expect',
  FORWARDED_BY,
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
];

/** The fields of a message that travel on, end to end. */
export function endToEnd(message: IncomingMessage): HeaderFields {
  const fields = new Map<string, { name: string; values: string[] }>();
  const { rawHeaders } = message;
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    const value = rawHeaders[at + 1] as string;
    const known = fields.get(name.toLowerCase());
    if (known === undefined) fields.set(name.toLowerCase(), { name, values: [value] });
    else known.values.push(value);
  }
  const named = fields.get('connection')?.values.flatMap((value) => value.split(',')) ?? [];
  for (const name of [...HOP_BY_HOP, ...named]) fields.delete(name.trim().toLowerCase());
  for (const name of fields.keys()) if (name.startsWith(':')) fields.delete(name);
  return fields;
}

/**
 * The fields of a request as the leader gets them. Of the body only those are left that stay true.
 *
 * @param node Name of this node.
 */
export function requestFields(exchange: Exchange, node: string): Map<string, string | readonly string[]> {
  const { request, host, protocol } = exchange;
  const came = endToEnd(request);
  const fields = new Map<string, string | readonly string[]>();
  for (const [key, { name, values }] of came) {
    if (!OWN.includes(key)) fields.set(name, values.length === 1 ? (values[0] as string) : values);
  }
  const address = request.socket.remoteAddress;
  const path = [...(came.get('x-forwarded-for')?.values ?? []), ...(address === undefined ? [] : [address])];
  if (path.length > 0) fields.set('X-Forwarded-For', path.join(', '));
  const forwardedHost = headerOf(request.headers, 'x-forwarded-host') ?? host;
  if (forwardedHost !== undefined) fields.set('X-Forwarded-Host', forwardedHost);
  fields.set('X-Forwarded-Proto', headerOf(request.headers, 'x-forwarded-proto') ?? protocol);
  // Names of nodes may hold what a header field may not.
  fields.set('X-HA-Forwarded-By', encodeURIComponent(node));
  return fields;
}

/** Drops a field, however it is spelled. */
export function dropField(fields: Map<string, unknown>, name: string): void {
  for (const key of fields.keys()) if (key.toLowerCase() === name) fields.delete(key);
}
