import { Applier } from '../apply/applier.js';
import type { Interceptors } from '../apply/interceptors.js';
import type { Capture } from '../capture/capture.js';
import type { ChangeDataCapture } from '../cdc/change-data-capture.js';
import { readTargets } from '../cdc/effect-log.js';
import { rememberPayload } from '../sqlite/outbox-tables.js';
import { LateStream } from '../stream/late-stream.js';
import { IdleAdvance } from '../subscribe/idle-advance.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import { HoldGate } from '../write/hold-gate.js';
import { AsyncPublishing, refusePending } from './async-publishing.js';
import type { Footing } from './footing.js';
import type { Launch } from './launch.js';
import type { Messages } from './messages.js';
import type { Profile } from './profile.js';
import type { Snapshotting } from './snapshotting.js';
import type { StreamIdentity } from './stream-identity.js';
import type { Targets } from './targets.js';

/** What brings the stream into the file. */
export interface ApplySide {
  readonly applier: Applier;
  /** Pauses that other nodes ask for. */
  readonly hold: HoldGate;
  readonly async: AsyncPublishing | undefined;
  readonly cdc: ChangeDataCapture | undefined;
  readonly idle: IdleAdvance | undefined;
}

/** What applying is made of. */
export interface ApplySideParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly interceptors: Interceptors | undefined;
  readonly subscriber: ReplicationSubscriber;
  readonly snapshotting: Snapshotting;
  readonly targets: Targets;
  readonly identity: StreamIdentity;
}

/** Makes what brings the stream into the file: nothing of it runs yet. */
export async function openApplySide(parts: ApplySideParts, footing: Footing, launch: Launch): Promise<ApplySide> {
  const { profile, interceptors, snapshotting, targets } = parts;
  const { connections, position, control, cursor } = footing;
  const { name, rowIdentify } = profile.options;
  const hold = new HoldGate(name);
  const applier = new Applier(
    connections.applier,
    rowIdentify,
    {
      before: (info) => (cdc === undefined ? async?.overlay.stepAside() : cdc.recorder.before(info)),
      behind: (sql, info, ran) => cdc?.recorder.behind(sql, info, ran),
    },
    interceptors,
  );
  // What applying does to rows, where somebody has to know: who publishes later, and change data capture.
  const capture = AsyncPublishing.capture(connections, rowIdentify);
  const async = profile.publishesLater ? openOutbox(parts, footing, { applier, capture, hold }) : undefined;
  if (async === undefined) refusePending(connections.applier);
  const known = readTargets(connections.applier);
  const carried = launch.targets ?? targets.behind(known, snapshotting.placesBehind(launch, cursor), cursor);
  const cdc = await targets.open(known, carried, { connections, capture, position, control, async });
  return { applier, hold, async, cdc, idle: idleAdvance(parts, footing) };
}

function openOutbox(
  { profile, messages, identity }: ApplySideParts,
  { connections, stream, position, foreign }: Footing,
  { applier, capture, hold }: Pick<ApplySide, 'applier' | 'hold'> & { readonly capture: Capture },
): AsyncPublishing {
  const store = AsyncPublishing.openStore(connections, profile.options, position.seen);
  if (!(stream instanceof LateStream)) rememberPayload(connections.applier, stream.maxPayload);
  return new AsyncPublishing(connections.applier, applier, capture, store, profile.options.name, {
    stream,
    position,
    foreign,
    busyTimeout: profile.busyTimeout,
    pass: () => hold.pass(),
    lostStream: (sequence) => identity.lost(sequence, position.received),
    failed: messages.failed,
  });
}

/** A history of its own has no messages of others in it. */
function idleAdvance({ profile, subscriber }: ApplySideParts, footing: Footing): IdleAdvance | undefined {
  const { options, subject, local } = profile;
  if (options.disableSubscriber || local !== undefined) return undefined;
  const { stream, position, control } = footing;
  return new IdleAdvance({ stream, position, control, subscriber, subject, maxAge: options.streamMaxAge });
}
