import type { Readable } from 'node:stream';

/**
 * Calls `onLine` for each line of a stream of UTF-8. Empty ones are left out; what follows the last line break counts
 * as a line.
 */
export function readLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  const push = (chunk: string): void => {
    const lines = (rest + chunk).split(/\r?\n/);
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') onLine(line);
  };
  stream.setEncoding('utf8').on('data', push);
  stream.once('end', () => push('\n'));
  stream.once('error', () => undefined);
}
