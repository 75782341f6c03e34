import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';

type WriteHead = (status: number, ...rest: unknown[]) => ServerResponse;

/** Fields of an answer that are added to what it has; `Set-Cookie` beside others. */
export type AddedFields = ReadonlyMap<string, string>;

/**
 * Adds fields to an answer at the last moment, when its head is written: whoever writes it, a handler with `@Res()` or a filter
 * as well.
 */
export function onHead(response: ServerResponse, fields: (status: number) => AddedFields): void {
  const writeHead = response.writeHead.bind(response) as WriteHead;
  response.writeHead = (status: number, ...rest: unknown[]) => {
    response.writeHead = writeHead;
    // Names are compared without case: a head that is written in one go goes before what was set one by one.
    const given = rest.find((value) => typeof value === 'object' && value !== null);
    for (const [name, value] of fields(status))
      add(response, given as OutgoingHttpHeaders | string[] | undefined, name, value);
    return writeHead(status, ...rest);
  };
}

function add(
  response: ServerResponse,
  given: OutgoingHttpHeaders | string[] | undefined,
  name: string,
  value: string,
): void {
  if (Array.isArray(given)) {
    given.push(name, value);
    return;
  }
  const spelled = given && Object.keys(given).find((key) => key.toLowerCase() === name.toLowerCase());
  if (given !== undefined && spelled !== undefined) given[spelled] = joined(name, given[spelled], value);
  else response.setHeader(name, joined(name, response.getHeader(name), value));
}

function joined(name: string, old: OutgoingHttpHeaders[string], value: string): string | string[] {
  if (name !== 'Set-Cookie' || old === undefined) return value;
  return [...(Array.isArray(old) ? old : [String(old)]), value];
}
