/** A node that stores its record anew with each heartbeat. */
export interface MemberSighting {
  readonly session: string;
  readonly revision: number;
}

const LOOK_MS = 1_000;
/** A node counts for so many heartbeats behind the last one that was seen. */
const BEATS = 1.8;

interface Seen {
  readonly revision: number;
  /** When it was seen to change; undefined where it never was: it may be left from a node that is gone. */
  readonly aliveAt: number | undefined;
}

/**
 * How many nodes of the cluster are there, this one among them. What counts is that somebody was seen to store the record of
 * its node again, by the clock of this one: records of nodes that are gone stay for a while.
 */
export class Quorum {
  private seen = new Map<string, Seen>();
  private hasLooked = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly size: number,
    private readonly others: () => Promise<readonly MemberSighting[]>,
    private readonly heartbeatMs: number,
    private readonly now: () => number,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** More than half of the nodes that there should be. */
  get needed(): number {
    return Math.floor(this.size / 2) + 1;
  }

  /** Nodes that are there. */
  get alive(): number {
    const since = this.now() - BEATS * this.heartbeatMs;
    return 1 + [...this.seen.values()].filter(({ aliveAt = -Infinity }) => aliveAt >= since).length;
  }

  get isThere(): boolean {
    return this.size === 1 || this.alive >= this.needed;
  }

  async start(): Promise<void> {
    if (this.size === 1) return;
    await this.look();
    const again = (): void => {
      this.timer = setTimeout(() => {
        void this.look()
          .catch((error: unknown) => this.failed(error))
          .then(() => (this.timer === undefined ? undefined : again()));
      }, LOOK_MS);
    };
    again();
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private async look(): Promise<void> {
    const sightings = await this.others();
    const now = this.now();
    const next = new Map<string, Seen>();
    for (const { session, revision } of sightings) {
      const before = this.seen.get(session);
      const hasMoved = before === undefined ? this.hasLooked : before.revision !== revision;
      next.set(session, { revision, aliveAt: hasMoved ? now : before?.aliveAt });
    }
    this.seen = next;
    this.hasLooked = true;
  }
}
