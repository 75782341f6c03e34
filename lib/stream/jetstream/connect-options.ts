import { readFileSync } from 'node:fs';
import { credsAuthenticator } from 'nats';
import type { ConnectionOptions } from 'nats';

/** Where and as whom to connect. */
export interface NatsAccess {
  /** `nats://host:port` or `tls://host:port`, user and password or a token in the URL if wanted. */
  readonly servers: readonly string[];
  readonly name: string;
  readonly user?: string | undefined;
  readonly pass?: string | undefined;
  readonly token?: string | undefined;
  /** Path of a `.creds` file. */
  readonly creds?: string | undefined;
  /** Paths of PEM files. */
  readonly tls?: {
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
  };
}

/** Options of the client: reconnects for ever, for the database goes on serving reads meanwhile. */
export function connectOptions(access: NatsAccess): ConnectionOptions {
  const urls = access.servers.map(parseServer);
  const login = urls.find((url) => url.username !== '');
  const user = access.user ?? (login?.password === '' ? undefined : decode(login?.username));
  const pass = access.pass ?? decode(login?.password);
  const token = access.token ?? (login?.password === '' ? decode(login.username) : undefined);
  return {
    servers: urls.map((url) => url.host),
    name: access.name,
    maxReconnectAttempts: -1,
    // Else the second refused login in a row ends the connection for good: a server that reads its users late, say.
    ignoreAuthErrorAbort: true,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    timeout: 5_000,
    pingInterval: 10_000,
    ...(user === undefined ? {} : { user }),
    ...(pass === undefined ? {} : { pass }),
    ...(token === undefined ? {} : { token }),
    ...(access.creds === undefined ? {} : { authenticator: credsAuthenticator(readFileSync(access.creds)) }),
    ...tlsOptions(access, urls),
  };
}

/** The servers without credentials, for messages. */
export function describeServers(servers: readonly string[]): string {
  return servers.map((server) => parseServer(server).host).join(', ');
}

function tlsOptions(access: NatsAccess, urls: readonly URL[]): Pick<ConnectionOptions, 'tls'> {
  const { ca, cert, key } = access.tls ?? {};
  const files = {
    ...(ca === undefined ? {} : { caFile: ca }),
    ...(cert === undefined ? {} : { certFile: cert }),
    ...(key === undefined ? {} : { keyFile: key }),
  };
  const wanted = Object.keys(files).length > 0 || urls.some((url) => url.protocol === 'tls:');
  return wanted ? { tls: files } : {};
}

function parseServer(server: string): URL {
  return new URL(server.includes('://') ? server : `nats://${server}`);
}

function decode(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : decodeURIComponent(text);
}
