import type { EventSink } from '../common/events.js';

const WIDTH = 30;

/** Shows on a terminal how far a snapshot has got; writes nothing where there is none. */
export function progressBar(out: NodeJS.WriteStream): EventSink {
  return (event) => {
    if (event.type !== 'progress' || !out.isTTY) return;
    const { percent, bytes, size, rate } = event;
    const done = Math.round((WIDTH * percent) / 100);
    const bar = `${'█'.repeat(done)}${'░'.repeat(WIDTH - done)}`;
    const end = bytes >= size ? '\n' : '';
    out.write(
      `\r${bar} ${percent.toFixed(0).padStart(3)} %  ${megabytes(bytes)} of ${megabytes(size)}  ${megabytes(rate)}/s${end}`,
    );
  };
}

/** As people read it. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}
