import { HAError } from '../common/ha-error.js';
import { sleep } from '../common/timing.js';
import { readAnnouncement } from './announcement.js';
import type { Announcement } from './announcement.js';

export interface StaticLeaderPorts {
  /** Addresses of the leader. */
  readonly target: string;
  /** They are those of this node. */
  readonly isNamed: boolean;
  readonly session: string;
  /** See `ElectionPorts`. */
  readonly establish: (announcement: Announcement, mayGoOn: () => boolean) => Promise<void>;
  readonly changed: () => void;
  readonly failed: (error: unknown) => void;
}

const PAUSE_MS = 50;

/** A leader that is named, and stays it. It begins as an elected one does: with an announcement in the stream. */
export class StaticLeader {
  private serving = false;
  private stopped = false;

  constructor(private readonly ports: StaticLeaderPorts) {}

  get isLeading(): boolean {
    return this.serving && !this.stopped;
  }

  get term(): number {
    return 0;
  }

  /** Undefined where it is this node, and does not lead yet. */
  get known(): { readonly value: string; readonly node: string | undefined } | undefined {
    const { isNamed, target } = this.ports;
    return isNamed && !this.isLeading ? undefined : { value: target, node: undefined };
  }

  async start(): Promise<void> {
    if (this.ports.isNamed) void this.announce();
  }

  look(): void {}

  observe(commands: readonly string[]): void {
    const { ports } = this;
    for (const command of commands) {
      const announcement = readAnnouncement(command);
      if (announcement === undefined) continue;
      if (announcement.session === ports.session) {
        this.serving = true;
        ports.changed();
      } else if (this.serving) ports.failed(twoLeaders());
    }
  }

  async resign(): Promise<void> {
    if (!this.ports.isNamed) return;
    throw new HAError(
      'HA_UNIMPLEMENTED',
      'A leader that leaderProvider=static names cannot resign: nobody would take its place. Use leaderProvider=dynamic.',
    );
  }

  async stop(): Promise<void> {
    this.stopped = true;
  }

  private async announce(): Promise<void> {
    const { establish, session, failed } = this.ports;
    while (!this.stopped && !this.serving) {
      await establish({ term: 0, session }, () => !this.stopped).catch(failed);
      if (!this.serving) await sleep(PAUSE_MS);
    }
  }
}

function twoLeaders(): HAError {
  return new HAError(
    'HA_LEADER_LOOP',
    'Another node leads this cluster too. Name one leader on all nodes (leaderProvider), and no other provider on any of them.',
  );
}
