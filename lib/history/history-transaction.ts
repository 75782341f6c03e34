import { isRowChange } from '../changeset/changeset.js';
import type { Change, RowChange } from '../changeset/changeset.js';
import { OPERATIONS, namedRow } from '../changeset/row-changes.js';
import { isInternalTable } from '../sqlite/schema.js';
import type { HAHistoryChange, HAHistoryTransaction } from '../write/history-port.js';
import { rowSql, sqlOf } from './readable-sql.js';
import type { StreamTransaction } from './transaction-assembler.js';

/** A transaction as `db.history()` gives it. Changes and SQL are made when they are asked for. */
export class PastTransaction implements HAHistoryTransaction {
  private rows: readonly HAHistoryChange[] | undefined;

  constructor(private readonly transaction: StreamTransaction) {}

  get sequence(): bigint {
    return BigInt(this.transaction.sequence);
  }

  get node(): string {
    return this.transaction.changeSet.node;
  }

  get time(): Date {
    return new Date(this.transaction.time);
  }

  get outcome(): HAHistoryTransaction['outcome'] {
    return this.transaction.outcome;
  }

  get changes(): readonly HAHistoryChange[] {
    this.rows ??= this.transaction.changeSet.changes.filter(isUserRow).map(describeChange);
    return this.rows;
  }

  get statements(): readonly string[] {
    return this.transaction.changeSet.changes.flatMap((change) => (change.operation === 'SQL' ? [change.command] : []));
  }

  get sql(): string {
    const { changeSet } = this.transaction;
    return sqlOf({
      ...changeSet,
      changes: changeSet.changes.filter((change) => !isRowChange(change) || isUserRow(change)),
    });
  }

  /** Members that are made when they are asked for are told too. */
  toJSON(): Record<string, unknown> {
    const { sequence, node, time, outcome, statements, sql } = this;
    return { sequence: String(sequence), node, time, outcome, statements, sql };
  }
}

/** One row change as history tells it. */
export function describeChange(change: RowChange): HAHistoryChange {
  const { table, operation, columns, oldValues, newValues, oldRowid, newRowid } = change;
  return {
    table,
    operation: OPERATIONS[operation],
    rowid: newRowid ?? oldRowid,
    before: namedRow(columns, oldValues),
    after: namedRow(columns, newValues),
    sql: rowSql(change),
  };
}

/** A change of a table that belongs to the user: those of replication itself are nobody's history. */
export function isUserRow(change: Change): change is RowChange {
  return isRowChange(change) && !isInternalTable(change.table);
}
