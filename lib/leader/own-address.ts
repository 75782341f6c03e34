import { hostname, networkInterfaces } from 'node:os';

/** Whether an address `host:port` is where this node listens. Names are compared as they are: nothing is looked up. */
export function isOwnAddress(
  address: string,
  own: { readonly grpcHost: string; readonly grpcPort: number | undefined },
): boolean {
  if (own.grpcPort === undefined || own.grpcPort === 0) return false;
  const url = `http://${address.replace(/^[a-z]+:\/\//i, '')}`;
  if (!URL.canParse(url)) return false;
  const { hostname: host, port } = new URL(url);
  return Number(port === '' ? 80 : port) === own.grpcPort && isOwnHost(host.replace(/^\[|\]$/g, ''), own.grpcHost);
}

function isOwnHost(host: string, grpcHost: string): boolean {
  if (host === 'localhost' || host === '::1' || host.startsWith('127.')) return true;
  const interfaces = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((each) => each.address));
  return [hostname().toLowerCase(), grpcHost, ...interfaces].includes(host);
}
