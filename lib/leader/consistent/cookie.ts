import type { Exchange } from '../exchange.js';
import { headerOf } from '../exchange.js';
import { DEFAULT_CONNECTION } from '../../common/tokens.js';

const MAX_AGE_S = 300;

/** Where a client keeps how far its writes got: a cookie, and a header for clients without cookies. */
export interface SequenceNames {
  readonly cookie: string;
  readonly header: string;
}

/** Names for a database; those of the default one are go-ha's. */
export function sequenceNames(connection: string): SequenceNames {
  if (connection === DEFAULT_CONNECTION) return { cookie: '_txseq', header: 'X-HA-TxSeq' };
  // Both kinds of name allow only some characters (RFC 9110, 5.6.2).
  const suffix = encodeURIComponent(connection).replace(/[()]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);
  return { cookie: `_txseq_${suffix}`, header: `X-HA-TxSeq-${suffix}` };
}

/** How far the client's own writes got, as it says; undefined where it says nothing, or nothing that is a sequence. */
export function askedSequence({ request }: Exchange, { cookie, header }: SequenceNames): number | undefined {
  const values = [headerOf(request.headers, header.toLowerCase()), ...cookieValues(request.headers.cookie, cookie)];
  const sequences = values.map(sequenceIn).filter((value) => value !== undefined);
  return sequences.length === 0 ? undefined : Math.max(...sequences);
}

export function cookieText(cookie: string, sequence: number): string {
  return `${cookie}=${sequence}; Max-Age=${MAX_AGE_S}; Path=/; HttpOnly`;
}

function cookieValues(cookies: string | undefined, name: string): string[] {
  if (cookies === undefined) return [];
  const pairs = cookies.split(';').map((pair) => pair.trim());
  return pairs.filter((pair) => pair.startsWith(`${name}=`)).map((pair) => pair.slice(name.length + 1));
}

function sequenceIn(text: string | undefined): number | undefined {
  if (text === undefined || !/^[1-9]\d{0,15}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}
