import { clearScreenDown, moveCursor } from 'node:readline';
import type { Cluster } from './cluster.js';

const BAR_WIDTH = 40;
const REDRAW_MS = 100;
const LINE_MS = 1_000;

/** Shows the cluster while it works: redrawn in a terminal, a line every second elsewhere. */
export class LiveView {
  private readonly begun = performance.now();
  private readonly timer: NodeJS.Timeout;
  private drawn = 0;

  constructor(
    private readonly cluster: Cluster,
    private readonly out: NodeJS.WriteStream = process.stdout,
  ) {
    this.timer = setInterval(() => this.draw(), out.isTTY ? REDRAW_MS : LINE_MS);
  }

  /** Writes a line above the view. */
  print(line: string): void {
    this.erase();
    this.out.write(`${line}\n`);
  }

  /** Draws the last state, and leaves it there. */
  stop(): void {
    clearInterval(this.timer);
    this.draw();
    this.drawn = 0;
  }

  private draw(): void {
    this.erase();
    const lines = this.out.isTTY ? this.picture() : [this.line()];
    this.out.write(lines.map((line) => `${line}\n`).join(''));
    if (this.out.isTTY) this.drawn = lines.length;
  }

  private erase(): void {
    if (this.drawn === 0) return;
    moveCursor(this.out, 0, -this.drawn);
    clearScreenDown(this.out);
    this.drawn = 0;
  }

  private picture(): string[] {
    const { loaded, total } = this.progress;
    const share = total === 0 ? 0 : loaded / total;
    const bar = '█'.repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, '░');
    return [
      `${bar} ${(share * 100).toFixed(0).padStart(3)} %  ${number(loaded)} of ${number(total)} places  ${this.seconds} s`,
      ...this.cluster.nodes.map(({ config, state }) =>
        [
          `  ${config.name}  ${config.role}`,
          `rows ${number(state.rows).padStart(8)}`,
          `position ${number(state.received).padStart(7)}`,
          `lag ${this.lagOf(config.name).padStart(9)}`,
          `commits ${number(state.commits).padStart(7)}`,
        ].join('  '),
      ),
    ];
  }

  private line(): string {
    const { loaded, total } = this.progress;
    const nodes = this.cluster.nodes.map(
      ({ config, state }) =>
        `${config.name} rows ${state.rows} position ${state.received} lag ${this.lagOf(config.name)}`,
    );
    return `${this.seconds} s  loaded ${loaded}/${total} | ${nodes.join(' | ')}`;
  }

  private get progress(): { loaded: number; total: number } {
    return this.cluster.nodes[0]?.state ?? { loaded: 0, total: 0 };
  }

  private get seconds(): string {
    return ((performance.now() - this.begun) / 1_000).toFixed(1).padStart(5);
  }

  private lagOf(node: string): string {
    const lag = this.cluster.lag.latest(node);
    return lag === undefined ? '–' : `${lag.toFixed(1)} ms`;
  }
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}
