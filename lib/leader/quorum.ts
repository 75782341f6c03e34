/** A node that stores its record anew with each heartbeat. */
export interface MemberSighting {
  readonly node: string;
  readonly session: string;
  readonly revision: number;
}

const LOOK_MS = 1_000;
/** A node counts for so many heartbeats behind the last one that was seen. */
const BEATS = 1.8;

interface Seen {
  readonly node: string;
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
    return this.aliveBut(undefined);
  }

  get isThere(): boolean {
    return this.isThereBut(undefined);
  }

  /** The same without a node that is known to be gone: its last heartbeat may have been seen a moment ago. */
  isThereBut(gone: string | undefined): boolean {
    return this.size === 1 || this.aliveBut(gone) >= this.needed;
  }

  private aliveBut(gone: string | undefined): number {
    const since = this.now() - BEATS * this.heartbeatMs;
    const there = [...this.seen.values()].filter(
      ({ node, aliveAt = -Infinity }) => aliveAt >= since && (gone === undefined || node !== gone),
    );
    return 1 + there.length;
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
    for (const { node, session, revision } of sightings) {
      const before = this.seen.get(session);
      const hasMoved = before === undefined ? this.hasLooked : before.revision !== revision;
      next.set(session, { node, revision, aliveAt: hasMoved ? now : before?.aliveAt });
    }
    this.seen = next;
    this.hasLooked = true;
  }
}
