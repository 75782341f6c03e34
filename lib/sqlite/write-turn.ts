/**
 * The one write turn of a database file: the committer and the applier take it in the order in which they ask. SQLite
 * admits one writer at a time, so waiting here, asynchronously, replaces busy handlers, which would block the loop.
 */
export class WriteTurn {
  private tail: Promise<void> = Promise.resolve();
  private holders = 0;
  /** Called behind every turn: something may have been committed. */
  onRelease: () => void = () => undefined;

  /** True where nobody has the turn, or waits for it. */
  get isFree(): boolean {
    return this.holders === 0;
  }

  /** Resolves with the function that gives the turn back. */
  async acquire(): Promise<() => void> {
    const before = this.tail;
    this.holders++;
    let release: () => void = () => undefined;
    this.tail = new Promise<void>((resolve) => {
      release = resolve;
    });
    await before;
    return () => {
      this.holders--;
      release();
      this.onRelease();
    };
  }
}
