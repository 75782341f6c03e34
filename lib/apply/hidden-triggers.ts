import type { Connection } from '../sqlite/connection.js';
import type { TriggerInfo } from '../sqlite/schema.js';
import { withWritableSchema } from '../sqlite/writable-schema.js';

/**
 * Hides the user's triggers from the applier: their effects are in the changeset already, as rows of their own.
 *
 * SQLite can switch triggers off only through its C interface. Instead the connection loads its in-memory schema from a
 * `sqlite_schema` whose trigger rows are deleted, inside a savepoint that is rolled back at once: the file, the schema
 * cookie and all other connections stay as they are. The schema comes back whenever SQLite loads it anew, so it has to be
 * hidden again behind every change of the schema, and never may DDL run while it is hidden.
 *
 * What triggers write to virtual tables stays, and nothing else of them: the shadow tables behind an external-content FTS
 * index are never replicated, so only the trigger keeps the index in step.
 */
export class HiddenTriggers {
  private hidden = false;

  constructor(private readonly db: Connection) {}

  /** Hides the triggers of this schema, except what they write to virtual tables. */
  hide(triggers: readonly TriggerInfo[]): void {
    const changed = triggers.filter((trigger) => trigger.virtualPart !== trigger.sql);
    if (changed.length === 0) return;
    withWritableSchema(this.db, () => {
      this.db.exec('SAVEPOINT ha_hide');
      try {
        const remove = this.db.prepare(`DELETE FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?`);
        const shorten = this.db.prepare(`UPDATE main.sqlite_schema SET sql = ? WHERE type = 'trigger' AND name = ?`);
        for (const { name, virtualPart } of changed) {
          if (virtualPart === undefined) remove.run(name);
          else shorten.run(virtualPart, name);
        }
        this.reload();
      } finally {
        this.db.exec('ROLLBACK TO ha_hide; RELEASE ha_hide');
      }
    });
    this.hidden = true;
  }

  /** Loads the schema as it is on disk. Call before any DDL. */
  show(): void {
    if (!this.hidden) return;
    withWritableSchema(this.db, () => this.reload());
    this.hidden = false;
  }

  /** Ends what `writable_schema = RESET` began: the next statement reads the schema. */
  private reload(): void {
    this.db.exec('PRAGMA writable_schema = RESET');
    this.db.prepare('SELECT count(*) FROM main.sqlite_schema').get();
  }
}
