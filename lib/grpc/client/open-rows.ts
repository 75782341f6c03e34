import type { QueryResponse } from '../codec/messages.js';

/** Answers of one request that somebody takes one by one; where others wait for the session, the rest is kept in memory. */
export class OpenRows {
  private kept: QueryResponse[] = [];
  private failure: { readonly error: unknown } | undefined;
  private ended = false;
  private dropping = false;
  private pulling: Promise<void> = Promise.resolve();

  /** @param onEnd Called once, when the last answer has come, or the failure. */
  constructor(
    private readonly source: AsyncGenerator<QueryResponse>,
    private readonly onEnd: () => void,
  ) {}

  /** The next answer; undefined behind the last. */
  async next(): Promise<QueryResponse | undefined> {
    for (;;) {
      const kept = this.kept.shift();
      if (kept !== undefined) return kept;
      if (this.failure !== undefined) throw this.failure.error;
      if (this.ended) return undefined;
      await this.pull();
    }
  }

  /** Takes all that is still to come, for later. Never fails: {@link next} does. */
  async keep(): Promise<void> {
    while (!this.ended) await this.pull();
  }

  /** Takes all that is still to come, and forgets it; who asks for more gets `reason`. Never fails. */
  async drop(reason?: unknown): Promise<void> {
    this.dropping = true;
    this.kept = [];
    if (reason !== undefined) this.failure ??= { error: reason };
    await this.keep();
  }

  private pull(): Promise<void> {
    this.pulling = this.pulling.then(() => this.take());
    return this.pulling;
  }

  private async take(): Promise<void> {
    if (this.ended) return;
    try {
      const { done, value } = await this.source.next();
      if (done === true) return this.end();
      const answer = value;
      if (!this.dropping) this.kept.push(answer);
      if (!answer.more) this.end();
    } catch (error) {
      this.failure ??= { error };
      this.end();
    }
  }

  private end(): void {
    this.ended = true;
    this.onEnd();
  }
}
