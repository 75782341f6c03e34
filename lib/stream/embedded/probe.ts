import { connect } from 'node:net';

/** What a NATS server says of itself in the INFO line it greets each connection with. */
export interface ServerInfo {
  server_id?: string;
  server_name?: string;
  version?: string;
  jetstream?: boolean;
  max_payload?: number;
}

/** What answers on a port: a NATS server, some other program, or nobody. */
export type Probe = { kind: 'nats'; info: ServerInfo } | { kind: 'other' } | { kind: 'nobody' };

const LARGEST_GREETING = 64 * 1024;

/**
 * Connects and reads the greeting. Never throws.
 *
 * @param timeout Milliseconds to wait for the connection and the greeting. A program that stays silent is `other`.
 */
export function probe(host: string, port: number, timeout = 1_000): Promise<Probe> {
  return new Promise((done) => {
    let connected = false;
    let greeting = '';
    const socket = connect({ host, port });
    const finish = (): void => {
      clearTimeout(timer);
      socket.destroy();
      done(connected ? readGreeting(greeting) : { kind: 'nobody' });
    };
    const timer = setTimeout(finish, timeout);
    socket.once('connect', () => (connected = true));
    socket.once('error', finish).once('close', finish);
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      greeting += chunk;
      if (greeting.includes('\n') || greeting.length > LARGEST_GREETING) finish();
    });
  });
}

function readGreeting(greeting: string): Probe {
  const json = /^INFO\s+(\{.*\})\s*\r?\n/.exec(greeting)?.[1];
  if (json === undefined) return { kind: 'other' };
  try {
    return { kind: 'nats', info: JSON.parse(json) as ServerInfo };
  } catch {
    return { kind: 'other' };
  }
}

/** The address a client of this machine reaches a listener at: a wildcard is replaced by the loopback address. */
export function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' || host === '[::]' ? '::1' : host.replace(/^\[(.*)\]$/, '$1');
}

/** `nats://host:port`, with an IPv6 address in brackets. */
export function natsURL(host: string, port: number): string {
  return `nats://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Who holds a port and what to do about it, as one sentence each. */
export async function describeHolder(host: string, port: number): Promise<string> {
  const reachable = reachableHost(host);
  const found = await probe(reachable, port);
  if (found.kind !== 'nats') {
    return `Port ${port} of ${host} is held by another program; stop it, or choose another port (0 takes a free one).`;
  }
  const { server_name: name = '?', version = '?', jetstream } = found.info;
  const without = jetstream ? '' : ' (without JetStream: it cannot be joined until that is enabled)';
  return (
    `Port ${port} of ${host} is held by nats-server '${name}' ${version}${without}; ` +
    `to join it use replicationURL=${natsURL(reachable, port)}, or choose another port (0 takes a free one).`
  );
}
