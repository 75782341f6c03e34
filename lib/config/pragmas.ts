import type { Problems } from './problems.js';
import type { SqlitePragma } from './resolved.js';

/** DSN parameters that stand for one PRAGMA each. */
export const PRAGMA_PARAMETERS: Readonly<Record<string, string>> = {
  _journal_mode: 'journal_mode',
  _synchronous: 'synchronous',
  _foreign_keys: 'foreign_keys',
  _fk: 'foreign_keys',
  _busy_timeout: 'busy_timeout',
  _timeout: 'busy_timeout',
  _cache_size: 'cache_size',
  _temp_store: 'temp_store',
};

const REFUSED: Readonly<Record<string, string>> = {
  temp_store: 'changes are captured by temporary triggers and tables, which must stay in memory',
  temp_store_directory: 'temporary tables stay in memory',
  locking_mode: 'readers and the writer are connections of their own to the same file',
  query_only: 'it would stop the writer; disablePublisher=true makes a read replica',
  user_version: 'it is replicated; set it by a statement',
  application_id: 'it is replicated; set it by a statement',
  schema_version: 'it corrupts databases',
  writable_schema: 'it corrupts databases, and what it changes is not replicated',
};

const VALUES: Readonly<Record<string, { pattern: RegExp; allowed: string }>> = {
  synchronous: { pattern: /^(off|normal|full|extra|[0-3])$/i, allowed: 'OFF, NORMAL, FULL, EXTRA or 0 to 3' },
  foreign_keys: { pattern: /^(on|off|yes|no|true|false|0|1)$/i, allowed: 'ON, OFF, YES, NO, TRUE, FALSE, 1 or 0' },
  busy_timeout: { pattern: /^[0-9]{1,9}$/, allowed: 'a number of milliseconds' },
  cache_size: { pattern: /^-?[0-9]{1,10}$/, allowed: 'a number of pages, or of KiB if negative' },
  journal_mode: {
    pattern: /^wal$/i,
    allowed: 'WAL, as in every other mode readers wait for the writer and the writer for readers',
  },
};

/** PRAGMA cannot bind parameters, so only values that need no quoting reach the SQL text. */
const PLAIN = { pattern: /^[-+]?[\w.]+$/, allowed: 'a word or a number' };

/** Collects the PRAGMAs of a DSN, each checked and at most once. */
export class PragmaList {
  readonly list: SqlitePragma[] = [];
  private readonly seen = new Map<string, string>();

  constructor(private readonly problems: Problems) {}

  /** Adds `_pragma=name(value)`. */
  addCall(call: string): void {
    const [, name, value = ''] = /^([A-Za-z_]+)\((.*)\)$/s.exec(call) ?? [];
    if (name === undefined) {
      this.problems.add(`DSN parameter _pragma: ${JSON.stringify(call)} is not allowed; allowed: name(value)`);
    } else {
      this.add(`DSN parameter _pragma=${name.toLowerCase()}(…)`, name.toLowerCase(), value);
    }
  }

  /** Adds one PRAGMA; `where` names its parameter in messages. */
  add(where: string, name: string, value: string): void {
    const rule = VALUES[name] ?? PLAIN;
    const refusal = REFUSED[name];
    const earlier = this.seen.get(name);
    this.seen.set(name, where);
    if (refusal !== undefined) {
      this.problems.add(`${where}: PRAGMA ${name} is refused: ${refusal}`);
    } else if (earlier !== undefined) {
      this.problems.add(`${where}: PRAGMA ${name} is already set by ${earlier}; keep one`);
    } else if (!rule.pattern.test(value)) {
      this.problems.add(`${where}: ${JSON.stringify(value)} is not allowed; allowed: ${rule.allowed}`);
    } else {
      this.list.push({ name, value });
    }
  }
}
