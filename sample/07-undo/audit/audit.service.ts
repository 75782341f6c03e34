import { Injectable } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';
import type { HAHistoryTransaction, HAUndoResult } from 'nestjs-ha';

/** A transaction of the past, as the page of an auditor shows it. */
export interface Entry {
  sequence: string;
  time: Date;
  node: string;
  who: string | undefined;
  what: string | undefined;
  sql: string[];
}

/** What an undo did, or would do. */
export interface Undone {
  /** Its own sequence, by which it can be undone too; none where nothing was written. */
  sequence: string | undefined;
  rows: number;
  sql: string[];
  conflicts: { table: string; reason: string; since: string | undefined }[];
}

@Injectable()
export class AuditService {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  /** The last transactions since a time, the newest first. */
  async list(since: string, table: string | undefined): Promise<Entry[]> {
    const entries: Entry[] = [];
    for await (const transaction of this.db.history(since, { table })) entries.unshift(entryOf(transaction));
    return entries;
  }

  /** What taking the rows of one transaction back would do. */
  preview(sequence: bigint): Promise<Undone> {
    return this.undo(sequence, { dryRun: true });
  }

  /** Takes back what one transaction did to its rows, and what was done to those since. */
  async undo(sequence: bigint, options: { dryRun?: boolean; force?: boolean } = {}): Promise<Undone> {
    return undoneOf(await this.db.undo({ from: sequence, scope: 'transactions', ...options }));
  }
}

function entryOf({ sequence, time, node, changes, sql }: HAHistoryTransaction): Entry {
  const deed = changes.find(({ table, operation }) => table === 'deeds' && operation === 'insert')?.after;
  return {
    sequence: String(sequence),
    time,
    node,
    who: deed?.['who']?.toString(),
    what: deed?.['what']?.toString(),
    sql: sql.split('\n'),
  };
}

function undoneOf({ sequence, inserted, updated, deleted, changes, conflicts }: HAUndoResult): Undone {
  return {
    sequence: sequence?.toString(),
    rows: inserted + updated + deleted,
    sql: changes.map((change) => change.sql),
    conflicts: conflicts.map(({ table, reason, sequence: since }) => ({ table, reason, since: since?.toString() })),
  };
}
