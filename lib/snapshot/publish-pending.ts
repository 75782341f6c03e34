import { HAError } from '../common/ha-error.js';
import { sleep } from '../common/timing.js';
import type { OutboxStore } from '../sqlite/outbox-store.js';
import type { OutgoingMessage, ReplicationStream } from '../stream/replication-stream.js';

const AT_ONCE = 100;
const PAUSE_MS = 250;

/**
 * Publishes all that waits in an outbox, in order, and leaves it there. What was published before is published again under
 * the same id, so every node, this one too, passes over it.
 *
 * @throws HAError `HA_STREAM_CONNECT` where the stream does not take a message within so many milliseconds.
 */
export async function publishPending(
  outbox: Pick<OutboxStore, 'after'>,
  stream: ReplicationStream,
  timeoutMs: number,
): Promise<void> {
  for (let last = 0; ;) {
    const messages = outbox.after(last, AT_ONCE);
    for (const { n, ...message } of messages) {
      await publishSurely(stream, message, timeoutMs);
      last = n;
    }
    if (messages.length === 0) return;
  }
}

async function publishSurely(stream: ReplicationStream, message: OutgoingMessage, timeoutMs: number): Promise<void> {
  for (const deadline = performance.now() + timeoutMs; ; await sleep(PAUSE_MS)) {
    try {
      await stream.publish(message, Math.max(PAUSE_MS, deadline - performance.now()));
      return;
    } catch (error) {
      if (performance.now() < deadline) continue;
      const reason = error instanceof Error ? error.message : String(error);
      throw new HAError(
        'HA_STREAM_CONNECT',
        `What waits in the outbox of this node could not be published: ${reason}. Only behind that the database can start from a snapshot, which does not have it. It is tried again at the next start.`,
        { cause: error, retryable: true },
      );
    }
  }
}
