/**
 * Requests that wait for an answer over one connection. They fail when it is lost: the client itself would have them wait
 * until their time is over, also while it has long been connected again.
 */
export class PendingRequests {
  private readonly failures = new Set<(error: Error) => void>();

  /** Settles as the request does, or is rejected by {@link fail}. */
  async run<T>(request: Promise<T>): Promise<T> {
    let fail: (error: Error) => void = () => undefined;
    const lost = new Promise<never>((_resolve, reject) => (fail = reject));
    this.failures.add(fail);
    try {
      return await Promise.race([request, lost]);
    } finally {
      this.failures.delete(fail);
    }
  }

  /** Ends all waiting. */
  fail(error: Error): void {
    for (const fail of this.failures) fail(error);
  }
}
