import { readTargets } from '../cdc/effect-log.js';
import { HAError } from '../common/ha-error.js';
import { sleep } from '../common/timing.js';
import { StagedSnapshot } from '../snapshot/staged-snapshot.js';
import { baseChangeOf } from '../subscribe/base.js';
import type { OpenDatabase } from '../write/open-database.js';
import type { Launch } from './launch.js';
import type { Messages } from './messages.js';
import type { Opened } from './opened.js';
import type { Opening } from './opening.js';
import type { Profile } from './profile.js';
import type { Snapshotting } from './snapshotting.js';
import type { Targets } from './targets.js';

/** What is tried, and what it stumbles over. */
export interface StartingParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly snapshotting: Snapshotting;
  readonly targets: Targets;
  readonly opening: Opening;
  readonly opened: Opened;
  /** How often connecting is tried again. */
  readonly retryAttempts: number;
  /** Milliseconds between tries. */
  readonly retryDelay: number;
}

/** So many times one start takes over a snapshot: each may turn out to be outdated when it is there. */
const MOST_RESTORES = 5;

/** Starts, as often as Nest's other database modules would: the stream may fall silent at any step. */
export class Starting {
  constructor(private readonly parts: StartingParts) {}

  /**
   * @param isClosed Nobody waits for the database any more: what fails is not tried again.
   * @throws What the last try failed with; the reason of the signal where that came meanwhile. What is open then is to be
   * taken down by the caller.
   */
  async start(first: Launch, signal: AbortSignal, isClosed: () => boolean): Promise<OpenDatabase> {
    const { opening, opened } = this.parts;
    const { retryAttempts = this.parts.retryAttempts } = first;
    let launch = first;
    for (let attempt = 0, restores = 0; ; attempt++) {
      try {
        const open = await opening.open(launch, signal);
        if (launch.staged !== undefined) this.tellRestored(launch.staged);
        return open;
      } catch (error) {
        const next = restores++ < MOST_RESTORES ? this.restoring(error, launch) : undefined;
        const retryable = error instanceof HAError && error.retryable;
        if (next === undefined && (!retryable || attempt >= retryAttempts || isClosed())) throw error;
        signal.throwIfAborted();
        await opened.tearDown();
        if (next === undefined) await this.pause(error as HAError, `${attempt + 1}/${retryAttempts}`, signal);
        else launch = next;
      }
    }
  }

  private async pause({ message }: HAError, tries: string, signal: AbortSignal): Promise<void> {
    this.parts.messages.logger.warn(`${message} Trying again (${tries}) …`);
    await sleep(this.parts.retryDelay);
    signal.throwIfAborted();
  }

  /** The start that has to follow one that met with a snapshot, or with the need of one. */
  private restoring(error: unknown, launch: Launch): Launch | undefined {
    if (error instanceof StagedSnapshot) return this.restore(error, launch);
    const change = baseChangeOf(error);
    const { bootstrap, disableSubscriber } = this.parts.profile.options;
    const isAuto = bootstrap === 'auto' && !disableSubscriber;
    return change === undefined || !isAuto ? undefined : { ...launch, change };
  }

  /** Takes along what the file of now has, and no snapshot knows. */
  private restore(staged: StagedSnapshot, launch: Launch): Launch {
    const { snapshotting, targets: places, opened } = this.parts;
    const { files } = opened;
    const carried = launch.carried ?? (files && snapshotting.carried(files));
    const snapshots = launch.snapshots === undefined ? undefined : 'never';
    const before = launch.targets ?? (files && readTargets(files.applier));
    const targets = before && places.displaced(before, staged.facts.sequence);
    return {
      ...launch,
      staged,
      change: undefined,
      snapshots,
      ...(carried === undefined ? {} : { carried }),
      ...(targets === undefined ? {} : { targets }),
    };
  }

  private tellRestored({ facts }: StagedSnapshot): void {
    const { sequence, size, ms } = facts;
    this.parts.messages.emit({ type: 'snapshot', action: 'restored', sequence: BigInt(sequence), size, ms });
  }
}
