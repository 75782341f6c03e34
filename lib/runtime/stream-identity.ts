import { HAError } from '../common/ha-error.js';
import type { Position } from '../sqlite/position.js';
import { LateStream } from '../stream/late-stream.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import { verifyCursor } from '../subscribe/establish-cursor.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { ClusterPlace } from './membership.js';
import type { Profile } from './profile.js';

/** What is halted where the stream is another one. */
export interface IdentityParts {
  readonly profile: Profile;
  readonly subscriber: ReplicationSubscriber;
  readonly cluster: ClusterPlace;
}

/** Makes sure that the stream is the one that was followed so far; else nothing is applied or written any more. */
export class StreamIdentity {
  constructor(private readonly parts: IdentityParts) {}

  /** Has a stream asked each time that it is connected. */
  watch(stream: ReplicationStream, position: Position): void {
    if (stream instanceof LateStream) stream.verify = () => this.verifyLate(stream, position);
    else if (!this.parts.profile.options.disableSubscriber) stream.verify = () => this.verify(stream, position);
  }

  /** The stream gives out sequences that this node has seen used: halts. */
  lost(sequence: number, received: number): HAError {
    const error = new HAError(
      'HA_STREAM_RESET',
      `The stream gave sequence ${sequence} to a new transaction, but this database has applied up to ${received}: it was made anew, or restored from an older copy. Nothing is applied or written any more. Restore the stream, or start with a new file to take over what it holds now.`,
      { details: { sequence, received } },
    );
    this.parts.subscriber.halt(error);
    return error;
  }

  /** What a start without the stream left out is done when it can be reached. */
  private async verifyLate(stream: LateStream, position: Position): Promise<void> {
    const { cluster } = this.parts;
    if (cluster.isJoined) return this.verify(stream, position);
    try {
      await cluster.joinLate(stream);
      await this.verify(stream, position);
    } catch (error) {
      // The connection goes with it: the name must be free for the next one.
      await cluster.leave();
      throw error;
    }
  }

  private async verify(stream: ReplicationStream, position: Position): Promise<void> {
    const { profile, subscriber } = this.parts;
    try {
      const { created, proven } = await verifyCursor(position.cursor, stream, profile.subject);
      position.proven = Math.max(position.proven, proven);
      // A database that was started without the stream did not know it yet.
      if (position.cursor.streamCreated === '') position.cursor = { ...position.cursor, streamCreated: created };
    } catch (error) {
      if (error instanceof HAError && !error.retryable) subscriber.halt(error);
      throw error;
    }
  }
}
