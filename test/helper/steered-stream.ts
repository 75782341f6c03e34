import { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import type { OutgoingMessage, PublishReceipt } from '../../lib/stream/replication-stream.js';

/** A stream in memory of which a test decides what becomes of each message, and when questions are answered. */
export class SteeredStream extends MemoryStream {
  /** Returns what the publisher is told; undefined has the message stored as always. */
  steer: (message: OutgoingMessage) => Promise<PublishReceipt> | undefined = () => undefined;
  /** What an answer to a question waits for on its way. */
  answering: () => Promise<void> = () => Promise.resolve();

  override publish(message: OutgoingMessage): Promise<PublishReceipt> {
    return this.steer(message) ?? super.publish(message);
  }

  /** The message arrives now, whatever its publisher was told. */
  arrive(message: OutgoingMessage): Promise<PublishReceipt> {
    return super.publish(message);
  }

  override async lastSubjectSequence(): Promise<number> {
    const last = await super.lastSubjectSequence();
    await this.answering();
    return last;
  }
}
