import type { Capture } from '../capture/capture.js';
import { ChangeDataCapture, forgetOthers } from '../cdc/change-data-capture.js';
import { beginAgain, createCdcTables, displaced, writeTarget } from '../cdc/effect-log.js';
import type { StoredTarget } from '../cdc/effect-log.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import type { Connections } from '../sqlite/connections.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import type { ControlWrites } from '../sqlite/control-writes.js';
import type { Position } from '../sqlite/position.js';
import type { AsyncPublishing } from './async-publishing.js';
import type { Messages } from './messages.js';
import type { Profile } from './profile.js';
import type { Snapshotting } from './snapshotting.js';

/** What recording for targets stands on. */
export interface TargetPorts {
  readonly connections: Connections;
  readonly capture: Capture;
  readonly position: Position;
  readonly control: ControlWrites;
  readonly async: AsyncPublishing | undefined;
}

/**
 * The targets of change data capture of one database: where each of them goes on when the rows come from elsewhere than
 * before, and what they are not told because of that.
 */
export class Targets {
  constructor(
    private readonly profile: Profile,
    private readonly messages: Messages,
  ) {}

  /** Where targets go on that this node knows from another stream, or from before its rows were made those of all. */
  behind(
    known: readonly StoredTarget[],
    places: ReturnType<Snapshotting['placesBehind']>,
    { received }: StreamCursor,
  ): StoredTarget[] | undefined {
    if (places === 'left' || known.some(({ sequence }) => sequence > received + 1)) {
      return beginAgain(known, received).map((target) => this.missing(target, target.sequence));
    }
    if (places === undefined) return undefined;
    // What was recorded here, and not told yet, is told behind the rows: what is gone among them has to be told gone.
    return known.map((target) => {
      const next = { ...target, snapshot: true };
      return places === 'lost' ? this.missing(next, received) : this.unlessUnwanted(next);
    });
  }

  /** Where they go on when the rows are those of a snapshot that goes up to a sequence. */
  displaced(before: readonly StoredTarget[], sequence: number): StoredTarget[] {
    return displaced(before, sequence).map((target) => this.missing(target, sequence + 1));
  }

  /**
   * Opens recording; undefined where nobody wants to be told.
   *
   * @param known What the file has of targets.
   * @param carried Where they go on instead.
   */
  async open(
    known: readonly StoredTarget[],
    carried: readonly StoredTarget[] | undefined,
    ports: TargetPorts,
  ): Promise<ChangeDataCapture | undefined> {
    const { targets } = this.profile;
    if (targets.length + known.length === 0 && carried === undefined) return undefined;
    const { connections, control, capture, position, async } = ports;
    const { replicationID, name, publisherTimeout } = this.profile.options;
    const common = {
      connections,
      control: <R>(work: (db: Connection) => R) => control.run(work),
      log: (line: string) => this.messages.logger.log(line),
    };
    if (carried !== undefined && carried.length > 0) {
      await control.run((db) => carryOver(db, carried, position.received));
    }
    if (targets.length === 0) {
      await forgetOthers([], common);
      return undefined;
    }
    return ChangeDataCapture.open(targets, {
      ...common,
      capture,
      received: () => position.received,
      isSettled: () => async?.isSettled ?? true,
      settled: async () => async?.settled(publisherTimeout),
      names: { db: replicationID, node: name },
      failed: this.messages.failed,
    });
  }

  /** What happened in front of a place is not told to a target, or only as far as rows are there: not in silence. */
  private missing(stored: StoredTarget, sequence: number): StoredTarget {
    const next = this.unlessUnwanted(stored);
    if (stored.snapshot && this.settingsOf(stored) !== undefined) {
      this.messages.failed(untold(stored.target, sequence, next.snapshot));
    }
    return next;
  }

  private unlessUnwanted(stored: StoredTarget): StoredTarget {
    return this.settingsOf(stored)?.snapshot === 'never' ? { ...stored, snapshot: false } : stored;
  }

  private settingsOf({ target }: StoredTarget): Profile['targets'][number]['settings'] | undefined {
    return this.profile.targets.find(({ settings }) => settings.name === target)?.settings;
  }
}

function carryOver(db: Connection, targets: readonly StoredTarget[], received: number): void {
  createCdcTables(db);
  for (const target of targets) writeTarget(db, target);
  // Of another stream, or of another file.
  const first = Math.min(...targets.map(({ sequence }) => sequence));
  db.prepare('DELETE FROM main.ha_cdc_log WHERE sequence < ? OR sequence > ?').run(first, received);
}

/** @param getsRows The target is given all rows anew. */
function untold(target: string, sequence: number, getsRows: boolean): HAError {
  const what = getsRows
    ? `it gets all rows that are there now, but what was deleted before sequence ${sequence} and not told yet is never told to it. Compare its copy with the tables, or empty it before the rows come`
    : `what happened before sequence ${sequence} is not told to it, for it has snapshot: 'never'. Compare its copy with the tables, or give it snapshot: 'initial' and another name`;
  return new HAError(
    'HA_CDC_DELIVERY',
    `This database was taken from a snapshot, or follows a new stream. The CDC target '${target}' cannot be told all of it: ${what}.`,
    { details: { target, sequence } },
  );
}
