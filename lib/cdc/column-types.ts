import type { Connection } from '../sqlite/connection.js';
import { readSchema, schemaVersion } from '../sqlite/schema.js';

/** Declared types of columns by table. */
export class ColumnTypes {
  private version: number | undefined;
  private types = new Map<string, Readonly<Record<string, string>>>();

  constructor(private readonly db: Connection) {}

  /** Looks whether the schema is still the one that is known. */
  refresh(): void {
    const version = schemaVersion(this.db);
    if (version === this.version) return;
    this.version = version;
    this.types = new Map(
      [...readSchema(this.db).tables.values()].map(({ name, columns }) => [
        name,
        Object.fromEntries(columns.map((column) => [column.name, column.type])),
      ]),
    );
  }

  /** Empty for a table that is gone. */
  of(table: string): Readonly<Record<string, string>> {
    return this.types.get(table) ?? NONE;
  }
}

const NONE = {};
