import { HAError } from '../../common/ha-error.js';
import { sleep } from '../../common/timing.js';
import type { KeyValueBucket, KeyValueEntry } from '../key-value.js';
import { keyToken, readRecord, writeRecord } from './member.js';
import type { MemberFacts, MemberRecord } from './member.js';
import type { Session } from './session.js';

/** How long an entry is watched before it counts as abandoned, in heartbeats. */
const WATCH_BEATS = 1.4;
const LOOKS = 20;

/**
 * A node's hold on its name: an entry in the members' bucket that it stores anew with every heartbeat.
 *
 * ```
 * absent ──create──▶ held ──update, each heartbeat──▶ held
 *    ▲                │ │ └──another session is there──▶ lost: HA_NODE_NAME_TAKEN
 *    └──time to live──┘ └──stop──▶ deleted
 * ```
 * An entry that is there at the start is taken over at once where its process is known to be dead, else where it stays
 * as it is for longer than a heartbeat. Each step is a compare-and-set: of two that take a name at once one loses, and then
 * finds the other alive.
 */
export class NodeName {
  private readonly key: string;
  private revision = 0;

  constructor(
    private readonly bucket: KeyValueBucket,
    replicationID: string,
    private readonly facts: () => MemberFacts,
    private readonly session: Session,
    private readonly heartbeatMs: number,
  ) {
    this.key = `${keyToken(replicationID)}.${keyToken(facts().node)}`;
  }

  /** @throws HAError `HA_NODE_NAME_TAKEN` where a node that lives has the name. */
  async take(): Promise<void> {
    for (;;) {
      const entry = await this.bucket.get(this.key);
      if (entry === undefined ? await this.create() : await this.takeOver(entry)) return;
    }
  }

  /** @throws HAError `HA_NODE_NAME_TAKEN` where another session has the name by now. */
  async renew(): Promise<void> {
    for (;;) {
      if (await this.update(this.revision)) return;
      const entry = await this.bucket.get(this.key);
      if (entry === undefined) {
        if (await this.create()) return;
        continue;
      }
      const holder = readRecord(entry.value);
      if (holder !== undefined && !this.isOwn(holder)) throw this.lost(holder);
      // An update whose answer was lost.
      this.revision = entry.revision;
    }
  }

  /** Deletes the entry, if it is still this session's. */
  async release(): Promise<void> {
    const entry = await this.bucket.get(this.key);
    const holder = entry === undefined ? undefined : readRecord(entry.value);
    if (entry !== undefined && holder !== undefined && this.isOwn(holder)) {
      await this.bucket.delete(this.key, entry.revision);
    }
  }

  private async create(): Promise<boolean> {
    return this.stored(await this.bucket.create(this.key, this.value()));
  }

  private async update(revision: number): Promise<boolean> {
    return this.stored(await this.bucket.update(this.key, this.value(), revision));
  }

  private stored(revision: number | undefined): boolean {
    if (revision !== undefined) this.revision = revision;
    return revision !== undefined;
  }

  private value(): string {
    return writeRecord(this.facts(), this.session.mark);
  }

  private isOwn(holder: MemberRecord): boolean {
    return holder.session === this.session.mark.session;
  }

  private async takeOver(entry: KeyValueEntry): Promise<boolean> {
    const holder = readRecord(entry.value);
    if (holder !== undefined && !this.isOwn(holder)) {
      const state = this.session.judge(holder);
      if (state === 'alive' || (state === 'unknown' && (await this.moves(entry)))) throw this.taken(holder);
    }
    return this.update(entry.revision);
  }

  /** Watches whether somebody stores the entry again; one that is deleted does not move. */
  private async moves({ revision }: KeyValueEntry): Promise<boolean> {
    for (let look = 0; look < LOOKS; look++) {
      await sleep((this.heartbeatMs * WATCH_BEATS) / LOOKS);
      const entry = await this.bucket.get(this.key);
      if (entry === undefined) return false;
      if (entry.revision !== revision) return true;
    }
    return false;
  }

  private taken(holder: MemberRecord): HAError {
    const { node } = this.facts();
    const same = holder.node === node ? '' : ` ('${holder.node}' and '${node}' count as one name)`;
    return this.error(
      holder,
      `A node named '${node}' is running already${same}: ${describe(holder)}. Give each node a name of its own with the option name (environment HA_NAME); the default is the host name.`,
    );
  }

  private lost(holder: MemberRecord): HAError {
    return this.error(
      holder,
      `While this node was paused or cut off, its name '${this.facts().node}' was taken by ${describe(holder)}. Nothing is applied or written here any more. Stop one of the two, or give it another name with the option name.`,
    );
  }

  private error(holder: MemberRecord, message: string): HAError {
    const { node, host, pid } = holder;
    return new HAError('HA_NODE_NAME_TAKEN', message, { details: { node, host, pid } });
  }
}

function describe({ pid, host, address, version }: MemberRecord): string {
  const at = address === undefined ? '' : ` at ${address}`;
  return `process ${pid} on host '${host}'${at} (nestjs-ha ${version})`;
}
