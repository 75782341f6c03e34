import type { Logger } from '@nestjs/common';
import type { HAChange } from '../changeset/row-changes.js';
import type { ChangeListener } from '../common/on-change.js';

/** More changes than this do not wait for one slow method: what comes then is not told, and that is logged. */
const MOST_WAITING = 10_000;

/** One method that `@OnHAChange` marks: gets its changes one after another. */
export class ChangeHandler {
  private readonly waiting: HAChange[] = [];
  private running = false;
  private dropped = 0;

  constructor(
    /** `Class.method`, for logs. */
    readonly name: string,
    private readonly listeners: readonly ChangeListener[],
    private readonly call: (change: HAChange) => unknown,
    private readonly logger: Logger,
  ) {}

  take(change: HAChange): void {
    if (!this.listeners.some((listener) => concerns(listener, change))) return;
    if (this.waiting.length >= MOST_WAITING) {
      this.dropped++;
      return;
    }
    this.waiting.push(change);
    if (!this.running) void this.run();
  }

  private async run(): Promise<void> {
    this.running = true;
    for (let change = this.waiting.shift(); change !== undefined; change = this.waiting.shift()) {
      try {
        await this.call(change);
      } catch (error) {
        this.logger.error(
          `${this.name} failed on the ${change.operation} of a row of '${change.table}' at sequence ${change.sequence}: ${error instanceof Error ? error.message : String(error)}`,
          error instanceof Error ? error.stack : undefined,
        );
      }
    }
    this.running = false;
    this.reportDropped();
  }

  private reportDropped(): void {
    if (this.dropped === 0) return;
    this.logger.warn(
      `${this.name} was not told of ${this.dropped} changes: it is slower than they come, and ${MOST_WAITING} were waiting for it. Let it return sooner.`,
    );
    this.dropped = 0;
  }
}

function concerns({ table, operations }: ChangeListener, change: HAChange): boolean {
  if (table !== undefined && table !== change.table.toLowerCase()) return false;
  return operations === undefined || operations.includes(change.operation);
}
