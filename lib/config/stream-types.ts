import { normalizeIdentifier } from './normalize.js';
import type { DeliverPolicy, LeaderProviderOption } from './resolved.js';
import { readText, refuse, text, type ValueType } from './value-types.js';

/** The stream's name is also the start of bucket names, which allow nothing else. */
export const streamName = text(
  'at most 200 letters, digits, - and _ (no space . * > / \\)',
  (value) => value.length <= 200 && /^[-\w]+$/.test(value),
);

/** A node's name becomes part of a consumer's name and of a key in a bucket. */
export const nodeName = text('ASCII letters, digits, - = _ and, replaced by _, space . / * >', (value) =>
  /^[-=\w]+$/.test(normalizeIdentifier(value)),
);

/** A replication ID becomes one token of a subject. */
export const replicationId = text(
  'a text with at least one character besides . / * > _ and space',
  (value) => normalizeIdentifier(value) !== '',
);

/** A server's or host's name. */
export const word = text('a text without white space', (value) => !/\s/.test(value));

/** A regular expression in JavaScript's syntax. */
export const pattern: ValueType<RegExp> = {
  allowed: "a regular expression in JavaScript's syntax",
  parse: (value) => new RegExp(readText(value)),
};

function readServer(server: string): string {
  // Without a scheme it is host:port, as NATS clients accept it.
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(server) ? server : `nats://${server}`;
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const valid = parsed !== undefined && /^(nats|tls):$/.test(parsed.protocol) && parsed.hostname !== '';
  // The URL is not repeated in the message: it may hold a password.
  if (!valid || /\s/.test(server)) throw new Error('it is not a list of server URLs');
  return server;
}

/** One or more NATS servers. */
export const servers: ValueType<readonly string[]> = {
  allowed: 'one or more URLs nats://[user:password@]host[:port] or tls://…, separated by commas',
  parse: (value) =>
    readText(value)
      .split(',')
      .map((server) => readServer(server.trim())),
};

/** `host:port` of a gRPC server, or the URL of an HTTP server. */
function isTarget(target: string): boolean {
  if (/\s/.test(target)) return false;
  const [scheme] = /^[a-z][a-z0-9+.-]*:\/\//i.exec(target) ?? [];
  if (scheme === undefined) return /^([^:/?#@[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/i.test(target);
  return /^(https?|grpcs?):\/\/$/i.test(scheme) && URL.canParse(target);
}

/** `dynamic:TARGET` or `static:TARGET`. */
export const leaderProvider: ValueType<LeaderProviderOption> = {
  allowed:
    'dynamic:TARGET (this node, reachable for the others) or static:TARGET (the leader); TARGET is host:port of gRPC, http(s)://host:port, or both with a comma',
  parse(value) {
    const [, kind, list = ''] = /^(dynamic|static):(.+)$/.exec(readText(value)) ?? [];
    const targets = list.split(',').map((target) => target.trim());
    if ((kind !== 'dynamic' && kind !== 'static') || !targets.every(isTarget)) {
      return refuse(value);
    }
    return { kind, targets };
  },
};

const RFC3339 =
  /^(\d{4}-\d\d-\d\d)[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[Zz]|[-+](?:[01]\d|2[0-3]):[0-5]\d)$/;
const LARGEST_SEQUENCE = (1n << 64n) - 1n;

function readTime(time: string): Date | undefined {
  const [, day] = RFC3339.exec(time) ?? [];
  // Date.parse rolls the 30th of February over to March; written back it shows.
  if (day === undefined || Number.isNaN(Date.parse(day))) return undefined;
  return new Date(day).toISOString().startsWith(day) ? new Date(time.toUpperCase()) : undefined;
}

function readStart(value: string): DeliverPolicy | undefined {
  const [, kind, argument = ''] = /^by_start_(sequence|time)=(.*)$/.exec(value) ?? [];
  if (kind === 'sequence' && /^[0-9]{1,20}$/.test(argument)) {
    const sequence = BigInt(argument);
    return sequence >= 1n && sequence <= LARGEST_SEQUENCE ? { kind: 'startSequence', sequence } : undefined;
  }
  const time = kind === 'time' ? readTime(argument) : undefined;
  return time && { kind: 'startTime', time };
}

/** Where to start in the stream. */
export const deliverPolicy: ValueType<DeliverPolicy> = {
  allowed: 'all, last, new, by_start_sequence=N (N from 1) or by_start_time=T (T as in 2026-01-31T15:04:05Z)',
  parse(value) {
    const read = readText(value);
    if (read === 'all' || read === 'last' || read === 'new') return { kind: read };
    return readStart(read) ?? refuse(value);
  },
};
