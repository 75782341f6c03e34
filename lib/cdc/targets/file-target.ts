import { open } from 'node:fs/promises';
import { cdcKeyJson, cdcValueJson } from '../connect-json.js';
import type { CdcJsonOptions } from '../connect-json.js';
import type { HACDCEvent, HACDCTarget } from '../target.js';

/**
 * Appends events to a file, one line of JSON each: `{"topic":…,"key":…,"value":…}`. A batch counts as delivered when it is
 * on the disk (fsync). A crash in between repeats it, and may leave half a line at the end: the next one ends it.
 */
export class FileCDCTarget implements HACDCTarget {
  constructor(
    private readonly path: string,
    private readonly options: CdcJsonOptions = {},
  ) {}

  async deliver(events: readonly HACDCEvent[]): Promise<void> {
    const file = await open(this.path, 'a+');
    try {
      const { size } = await file.stat();
      const { buffer, bytesRead } = await file.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1));
      const isTorn = size > 0 && bytesRead === 1 && buffer.toString('latin1') !== '\n';
      const lines = events.map((event) => `${this.line(event)}\n`).join('');
      await file.appendFile(isTorn ? `\n${lines}` : lines);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  private line(event: HACDCEvent): string {
    const key = cdcKeyJson(event, this.options) ?? 'null';
    return `{"topic":${JSON.stringify(event.topic)},"key":${key},"value":${cdcValueJson(event, this.options)}}`;
  }
}
