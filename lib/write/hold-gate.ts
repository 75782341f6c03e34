/** What a node publishes, as the command of a CUSTOM change, to ask the others for a pause. go-ha ignores it. */
const COMMAND = 'ha.hold';
/** The longest pause that a node grants, ms. */
const LONGEST_MS = 250;
/** A node asks after so many refusals in a row. */
export const REFUSALS_BEFORE_HOLD = 3;

/**
 * Lets an ordered transaction through where others write all the time: it is stored only if nobody comes between, and a
 * node that is a little slower would wait for ever. The node that was refused several times asks for a pause; the others
 * start no new group until its transaction has come, or the time is over. Of two that ask, the first in the stream has it.
 */
export class HoldGate {
  private holder: string | undefined;
  private until = 0;
  private wake: (() => void) | undefined;

  constructor(private readonly node: string) {}

  /** The command that asks for a pause. */
  request(ms: number): string {
    return `${COMMAND} ${Math.ceil(Math.min(ms, LONGEST_MS))}`;
  }

  /** Sees every message of the stream in order: `commands` are those of its CUSTOM changes. */
  observe(node: string, commands: readonly string[]): void {
    const asked = commands.map(requested).find((ms) => ms !== undefined);
    if (asked !== undefined) this.grant(node, asked);
    else if (node === this.holder) this.end();
  }

  /** Resolves when this node may start a group. */
  async pass(): Promise<void> {
    const left = this.until - performance.now();
    if (this.holder === undefined || this.holder === this.node || left <= 0) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, left);
      this.wake = resolve;
    });
    clearTimeout(timer);
  }

  private grant(node: string, ms: number): void {
    if (this.holder !== undefined && this.holder !== node && performance.now() < this.until) return;
    this.holder = node;
    this.until = performance.now() + Math.min(ms, LONGEST_MS);
  }

  private end(): void {
    this.holder = undefined;
    this.until = 0;
    this.wake?.();
    this.wake = undefined;
  }
}

function requested(command: string): number | undefined {
  const [name, ms] = command.split(' ');
  const value = Number(ms);
  return name === COMMAND && value > 0 ? value : undefined;
}
