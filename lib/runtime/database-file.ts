import { removeDatabase } from '../snapshot/database-copy.js';
import { Connections } from '../sqlite/connections.js';
import type { ConfigureConnection } from '../sqlite/connection.js';
import type { IdGenerator } from '../sqlite/id-generator.js';
import { realFile } from '../sqlite/real-file.js';
import { SetAside } from '../sqlite/set-aside.js';
import type { Launch } from './launch.js';
import type { Messages } from './messages.js';
import type { Profile } from './profile.js';
import type { Snapshotting } from './snapshotting.js';

/** What opening the file goes by. */
export interface DatabaseFileParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly snapshotting: Snapshotting;
  readonly ids: IdGenerator;
  readonly configure: ConfigureConnection | undefined;
}

/** The file of a database: sees to it that the right one is in its place once it is locked, and opens it. */
export class DatabaseFile {
  /** How often it was opened: what was read of an earlier one may not hold any more. */
  launches = 0;

  constructor(private readonly parts: DatabaseFileParts) {}

  open(launch: Launch): Connections {
    const { profile, ids, configure } = this.parts;
    const { filename, memory, pragmas } = profile.options;
    // What looks like a resync that was not finished may be under way in another process.
    const exclusive = profile.hasStream || SetAside.unfinished(realFile(filename)) !== undefined;
    this.launches++;
    return new Connections({
      filename,
      memory,
      pragmas,
      configure,
      ids,
      exclusive,
      beforeOpen: (path) => this.beforeOpen(launch, exclusive, path),
    });
  }

  private beforeOpen(launch: Launch, exclusive: boolean, path: string): void {
    if (launch.beforeOpen !== undefined) launch.beforeOpen();
    else if (exclusive) this.putBack();
    if (!exclusive) return;
    removeDatabase(`${path}-ha-snapshot`);
    this.installStaged(launch, path);
  }

  private installStaged(launch: Launch, path: string): void {
    const { staged } = launch;
    if (staged === undefined) return;
    const { profile, messages, snapshotting } = this.parts;
    const keep = launch.keep === true || (staged.keeps && !profile.options.memory);
    const how = { isAside: launch.beforeOpen !== undefined, keep };
    const kept = snapshotting.install(staged, path, how, launch);
    if (kept === undefined) return;
    launch.onKept?.(kept);
    if (staged.keeps) messages.logger.warn(interruptedLine(kept));
  }

  /** The process died while the file was built anew. */
  private putBack(): void {
    const { profile, messages } = this.parts;
    const { memory, filename } = profile.options;
    const unfinished = memory ? undefined : SetAside.unfinished(realFile(filename));
    if (unfinished === undefined) return;
    unfinished.restore();
    messages.logger.warn(
      'A resync was not finished: the file from before is back in its place. Call db.resync() again.',
    );
  }
}

function interruptedLine(kept: string): string {
  return `An earlier start had made the rows of this file those of the cluster, and was interrupted. What the cluster has is in its place now; the file as it was is at ${kept}. Rows that were written to it since are only there.`;
}
