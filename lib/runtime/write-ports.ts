import type { ConflictDetector } from '../apply/conflict-detector.js';
import type { RecentMessage } from '../apply/recent-messages.js';
import { Capture } from '../capture/capture.js';
import { decodeChangeSet } from '../changeset/codec.js';
import type { Leadership } from '../leader/leadership.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import { CursorWriter } from '../sqlite/control-tables.js';
import type { ChangeFeed } from '../subscribe/change-feed.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { CommittedTransaction } from '../write/commit-group.js';
import type { ReplicationPorts } from '../write/committer.js';
import type { ApplySide } from './apply-side.js';
import type { Footing } from './footing.js';
import type { Messages } from './messages.js';
import type { Profile } from './profile.js';
import type { StreamIdentity } from './stream-identity.js';

/** Who has a part in a write, besides what one start opens. */
export interface WritePortsParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly leader: Leadership;
  readonly publisher: ReplicationPublisher;
  readonly subscriber: ReplicationSubscriber;
  readonly changeFeed: ChangeFeed;
  readonly identity: StreamIdentity;
}

/** Largest piece of a transaction that is taken out of the capture at once, bytes. */
const PIECE_BYTES = 256 * 1024;

/** What replication adds to the write path. */
export function writePorts(
  parts: WritePortsParts,
  footing: Footing,
  side: ApplySide,
  conflicts: ConflictDetector,
): ReplicationPorts {
  const { profile, leader, publisher, subscriber, identity } = parts;
  const { connections, position, outcomes, foreign } = footing;
  return {
    publisher,
    position,
    outcomes,
    foreign,
    capture: writerCapture(profile, footing, side),
    cursorWriter: new CursorWriter(connections.writer, profile.subject),
    feed: profile.options.disableSubscriber ? undefined : subscriber,
    hold: side.hold,
    fence: leader.isConfigured ? leader : undefined,
    outbox: side.async,
    record: side.cdc?.record,
    applied: (transaction) => tellApplied(parts, side, conflicts, transaction),
    lostStream: (sequence) => identity.lost(sequence, position.received),
  };
}

function writerCapture({ options }: Profile, { connections, stream }: Footing, { cdc, async }: ApplySide): Capture {
  return new Capture(connections.writer, {
    markGeneratedIds: options.generatedIds === 'ordered' ? 'always' : 'once',
    rowIdentify: options.rowIdentify,
    pieceBytes: () => Math.min(PIECE_BYTES, Math.floor(stream.maxPayload / 4)),
    // What waits in the outbox may be told to a target of a later start.
    exactImages: cdc !== undefined || async !== undefined,
  });
}

/** A transaction of this node was committed at its place, without coming back from the stream. */
function tellApplied(
  { profile, messages, changeFeed }: WritePortsParts,
  { cdc }: ApplySide,
  conflicts: ConflictDetector,
  transaction: CommittedTransaction,
): void {
  const { name: node } = profile.options;
  const { events } = messages;
  cdc?.wake();
  const { sequence, changes, messages: parts } = transaction;
  changeFeed.committed(sequence, parts);
  conflicts.remember(() => recentOf(transaction, node), sequence);
  if (events.observed) events.next({ type: 'applied', sequence: BigInt(sequence), node, changes });
}

/** A transaction of this node as others see it: conflicts with it have to name it. */
function recentOf({ sequence, messages, ids }: CommittedTransaction, node: string): RecentMessage {
  return {
    sequence,
    origin: ids[0]?.origin ?? node,
    node,
    ids: { first: ids[0]?.n ?? 0, last: ids.at(-1)?.n ?? 0 },
    bytes: messages.reduce((sum, { data }) => sum + data.length, 0),
    foreign: false,
    read: () => {
      const parts = messages.map(({ data }) => decodeChangeSet(data.toString('utf8')));
      return { changes: parts.flatMap(({ changes }) => changes), epoch: parts[0]?.epoch ?? 0n };
    },
  };
}
