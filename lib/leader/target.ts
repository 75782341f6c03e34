import type { LeaderTarget } from './leader.js';

const HTTP = /^https?:\/\//i;

/** The addresses of a leader, as one text: the value of the key `redirect`. */
export function targetOf(text: string): LeaderTarget {
  const addresses = text.split(',').map((address) => address.trim());
  const http = addresses.find((address) => HTTP.test(address));
  const grpc = addresses.find((address) => address !== '' && !HTTP.test(address));
  return { text, ...(grpc === undefined ? {} : { grpc }), ...(http === undefined ? {} : { http }) };
}
