import { readFileSync } from 'node:fs';
import { credentials } from '@grpc/grpc-js';
import type { ChannelCredentials } from '@grpc/grpc-js';
import { HAError } from '../../common/ha-error.js';

/** Files (PEM) for TLS: an authority other than those of Node, and a certificate of one's own. */
export interface ClientTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const PLAIN = new Set(['http:', 'grpc:']);
const SECURE = new Set(['https:', 'grpcs:']);

/** Where a server is, and how to speak to it. */
export interface Target {
  readonly address: string;
  readonly credentials: ChannelCredentials;
}

/**
 * Reads the URL of a server: `http://host:port` and `grpc://…` without TLS, `https://` and `grpcs://` with; `host:port` with
 * where certificates are given.
 *
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function parseTarget(url: string, tls: ClientTls | undefined): Target {
  const full = /^[a-z]+:\/\//i.test(url) ? url : `${tls === undefined ? 'http' : 'https'}://${url}`;
  const parsed = tryParse(full.replace(/^grpc/i, 'http'));
  const scheme = `${full.slice(0, full.indexOf(':')).toLowerCase()}:`;
  const isSecure = SECURE.has(scheme);
  if (
    parsed === undefined ||
    !(isSecure || PLAIN.has(scheme)) ||
    parsed.pathname.length > 1 ||
    parsed.username !== ''
  ) {
    throw new HAError(
      'HA_OPTIONS_INVALID',
      `'${url}' is no address of a gRPC server. Write http://host:port, or https://host:port for TLS; a token is an option of its own.`,
      { details: { url } },
    );
  }
  const port = parsed.port === '' ? (isSecure ? '443' : '80') : parsed.port;
  return {
    address: `${parsed.hostname}:${port}`,
    credentials: isSecure ? secure(tls ?? {}) : credentials.createInsecure(),
  };
}

function tryParse(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined;
}

function secure({ ca, cert, key }: ClientTls): ChannelCredentials {
  return credentials.createSsl(read(ca), read(key), read(cert));
}

function read(path: string | undefined): Buffer | null {
  if (path === undefined) return null;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new HAError('HA_OPTIONS_INVALID', `The file '${path}' cannot be read: ${(error as Error).message}.`, {
      cause: error,
      details: { path },
    });
  }
}
