/** Runs a step again and again, never two at once; somebody may have the next one at once. */
export class WakeableLoop {
  private running: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private pause: (() => number) | undefined;
  private again = false;

  constructor(
    private readonly step: () => Promise<void>,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** @param pause Milliseconds to the next step. */
  start(pause: () => number): void {
    this.pause = pause;
    this.plan();
  }

  stop(): void {
    this.pause = undefined;
    clearTimeout(this.timer);
  }

  /** Has the next step now, or behind the one that is under way. */
  wake(): void {
    if (this.pause === undefined) return;
    if (this.running !== undefined) this.again = true;
    else void this.turn();
  }

  /** Resolves when no step is under way. */
  async idle(): Promise<void> {
    while (this.running !== undefined) await this.running;
  }

  private plan(): void {
    if (this.pause !== undefined) this.timer = setTimeout(() => void this.turn(), this.pause());
  }

  private async turn(): Promise<void> {
    clearTimeout(this.timer);
    do {
      this.again = false;
      this.running = this.step().catch((error: unknown) => this.failed(error));
      await this.running;
      this.running = undefined;
    } while (this.again && this.pause !== undefined);
    this.plan();
  }
}
