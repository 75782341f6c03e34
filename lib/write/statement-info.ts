import { HAError } from '../common/ha-error.js';
import { classify } from '../sql/classify.js';
import { refuseNul } from '../sql/nul.js';
import { ownName } from '../sql/own-names.js';
import { isReplicatedPragma } from '../sql/pragmas.js';
import { LONGEST_KEPT, MOST_TEXT } from '../sqlite/statement-cache.js';
import { volatilePart } from '../sql/volatile.js';
import type { PragmaInfo, StatementInfo } from '../sql/statement-info.js';

const LIMIT = 2_000;

/** Classifies statements and remembers them, but for long ones: applications run the same few texts over and over. */
export class StatementInfos {
  private text = 0;
  private readonly known = new Map<string, StatementInfo>();

  of(sql: string): StatementInfo {
    let info = this.known.get(sql);
    if (info === undefined) {
      if (typeof sql !== 'string') throw new TypeError('Expected first argument to be a string');
      refuseNul(sql);
      info = classify(sql);
      if (sql.length <= LONGEST_KEPT) this.keep(sql, info);
    }
    return info;
  }

  private keep(sql: string, info: StatementInfo): void {
    if (this.known.size >= LIMIT || this.text + sql.length > MOST_TEXT) {
      this.known.clear();
      this.text = 0;
    }
    this.known.set(sql, info);
    this.text += sql.length;
  }
}

/** True for statements that go to the writer; everything else is read where it does not disturb. */
export function isWrite(info: StatementInfo): boolean {
  switch (info.kind) {
    case 'select':
    case 'empty':
      return false;
    case 'explain':
      return explainsSetting(info) !== undefined;
    case 'pragma':
      return info.pragma !== undefined && isSetting(info.pragma);
    default:
      return true;
  }
}

/** PRAGMAs whose argument is a question and no value: https://www.sqlite.org/pragma.html */
const ASKING = new Set([
  'foreign_key_check',
  'foreign_key_list',
  'index_info',
  'index_list',
  'index_xinfo',
  'integrity_check',
  'quick_check',
  'table_info',
  'table_list',
  'table_xinfo',
]);

/** True for a PRAGMA that asks something: it gives rows, maybe none. */
export function isAsking(pragma: PragmaInfo): boolean {
  return ASKING.has(pragma.name);
}

/** PRAGMAs of one transaction. */
const TRANSACTIONAL = new Set(['defer_foreign_keys']);

/** PRAGMAs that run on the writer without leaving a trace in the rows. */
const MAINTENANCE = new Set(['optimize', 'wal_checkpoint', 'incremental_vacuum', 'shrink_memory']);

/** True for a PRAGMA that sets something, or does something. */
function isSetting(pragma: PragmaInfo): boolean {
  if (MAINTENANCE.has(pragma.name)) return true;
  return pragma.hasArgument && !ASKING.has(pragma.name);
}

/** The setting PRAGMA behind EXPLAIN: SQLite carries out many while it compiles them, also to explain them. */
function explainsSetting({ explained }: StatementInfo): PragmaInfo | undefined {
  const pragma = explained?.pragma;
  return pragma !== undefined && isSetting(pragma) && !isMaintenancePragma(pragma) ? pragma : undefined;
}

export function isMaintenancePragma(pragma: PragmaInfo): boolean {
  return MAINTENANCE.has(pragma.name);
}

/** Refuses what cannot be a statement of its own, before SQLite sees it. */
export function refuseControl(info: StatementInfo): void {
  switch (info.kind) {
    case 'begin':
    case 'commit':
    case 'rollback':
    case 'savepoint':
    case 'release':
      throw new HAError(
        'HA_TRANSACTION_CONTROL',
        `${info.verb} cannot be a statement of its own: transactions of all callers share one connection. Use db.transaction(async (tx) => …), and tx.savepoint(…) inside it.`,
      );
    case 'attach':
    case 'detach':
      throw new HAError(
        'HA_STATEMENT_REFUSED',
        `${info.verb} is not supported: an attached database would not be replicated. Attach it in configure(connection, role), or open it with better-sqlite3 and copy the rows.`,
      );
    case 'pragma':
      refusePragma(info.pragma);
      return;
    case 'explain':
      refuseExplained(explainsSetting(info));
      return;
    default:
  }
}

/** Refuses a write to names that this library keeps for itself: it would stay on this node, or break its position. */
export function refuseOwnTables(sql: string, info: StatementInfo): void {
  const name = ownName(sql, info);
  if (name === undefined) return;
  throw new HAError(
    'HA_STATEMENT_REFUSED',
    `Names that begin with 'ha_' belong to replication, and nothing in '${name}' would reach other nodes. Choose another name.`,
    { details: { name } },
  );
}

/** Refuses to replicate a statement that would store other values on every node. */
export function refuseVolatile(sql: string): void {
  const part = volatilePart(sql);
  if (part === undefined) return;
  throw new HAError(
    'HA_STATEMENT_REFUSED',
    `Writes to virtual tables run again on every node, where ${part} has another value. Read the value first, and bind it as a parameter.`,
    { details: { part } },
  );
}

/** Refuses what needs the stream's order on a node that does not follow the stream. */
export function refuseUnfollowed(what: string): never {
  throw new HAError(
    'HA_STATEMENT_REFUSED',
    `${what} needs to know what others wrote, and this node does not follow the stream (disableSubscriber). Run it on another node; with disableDDLSync the schema of this one can be changed for itself.`,
  );
}

/** Refuses a write to a view whose trigger fills a virtual table: no other node would be told of it. */
export function refuseVirtualView(name: string): never {
  throw new HAError(
    'HA_STATEMENT_REFUSED',
    `A trigger on the view '${name}' writes to a virtual table, which cannot be replicated. Write to that table itself, or let the trigger write to an ordinary table whose own trigger fills it.`,
    { details: { name } },
  );
}

function refuseExplained(pragma: PragmaInfo | undefined): void {
  if (pragma === undefined) return;
  throw new HAError(
    'HA_STATEMENT_REFUSED',
    `SQLite would carry out PRAGMA ${pragma.name} in order to explain it. Leave its value out.`,
    { details: { pragma: pragma.name } },
  );
}

function refusePragma(pragma: PragmaInfo | undefined): void {
  if (pragma === undefined || !isSetting(pragma) || TRANSACTIONAL.has(pragma.name)) return;
  if (isReplicatedPragma(pragma) || isMaintenancePragma(pragma)) return;
  throw new HAError(
    'HA_STATEMENT_REFUSED',
    `PRAGMA ${pragma.name} would change one of several connections only. Set it in the DSN (_pragma=${pragma.name}(value)), or in configure(connection, role).`,
    { details: { pragma: pragma.name } },
  );
}
