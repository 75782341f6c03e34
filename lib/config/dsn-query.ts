import { nearest } from './nearest.js';
import { PRAGMA_PARAMETERS, PragmaList } from './pragmas.js';
import type { RawOptions } from './environment.js';
import type { Problems } from './problems.js';
import type { SqlitePragma } from './resolved.js';
import { SPEC_BY_PARAMETER } from './spec.js';

/** What the part of a DSN after `?` says. */
export interface DsnParameters {
  options: RawOptions;
  pragmas: SqlitePragma[];
  memory: boolean;
  mustExist: boolean;
}

const REFUSED: Readonly<Record<string, string>> = {
  cache: 'a shared cache makes readers wait for the writer',
  vfs: "the connections use SQLite's default file system, which WAL and locks rest on",
  immutable: 'a replicated file changes',
  nolock: 'without locks several connections corrupt the file',
  psow: "it is left to SQLite's default",
  modeof: 'file permissions are set on the file itself',
  _txlock: 'every writing transaction begins IMMEDIATE',
};

const PARAMETERS = [...SPEC_BY_PARAMETER.keys(), ...Object.keys(PRAGMA_PARAMETERS), '_pragma', 'mode'];

/** Reads the parameters one by one. */
class QueryReader {
  readonly options: RawOptions = {};
  readonly pragmas: PragmaList;
  memory = false;
  mustExist = false;
  private readonly seen = new Set<string>();

  constructor(private readonly problems: Problems) {
    this.pragmas = new PragmaList(problems);
  }

  /** Reads `key=value`. */
  read(pair: string): void {
    const equals = pair.indexOf('=');
    const key = this.decode(equals < 0 ? pair : pair.slice(0, equals), 'a name');
    const value = this.decode(equals < 0 ? '' : pair.slice(equals + 1), key);
    if (key === undefined || value === undefined) return;
    if (equals <= 0 || value === '') {
      this.problems.add(`DSN parameter ${key}: it needs a name and a value, as in name=node1; or leave it out`);
    } else {
      this.apply(key, value);
    }
  }

  private decode(text: string, where = 'a value'): string | undefined {
    if (text.includes('#')) this.problems.add(`DSN parameter ${where}: write %23 for #`);
    try {
      const decoded = decodeURIComponent(text);
      if (!decoded.includes('\0')) return decoded;
      this.problems.add(`DSN parameter ${where}: it contains a NUL character`);
    } catch {
      this.problems.add(`DSN parameter ${where}: malformed percent-encoding; write %25 for %`);
    }
    return undefined;
  }

  private apply(key: string, value: string): void {
    const where = `DSN parameter ${key}`;
    const pragma = Object.hasOwn(PRAGMA_PARAMETERS, key) ? PRAGMA_PARAMETERS[key] : undefined;
    const spec = SPEC_BY_PARAMETER.get(key);
    if (key === '_pragma') this.pragmas.addCall(value);
    else if (pragma !== undefined) this.pragmas.add(where, pragma, value);
    else if (Object.hasOwn(REFUSED, key)) this.problems.add(`${where} is refused: ${REFUSED[key]}`);
    else if (spec === undefined && key !== 'mode') {
      this.problems.add(`${where} is unknown; did you mean ${nearest(key, PARAMETERS)}?`);
    } else if (this.isFirst(where, spec?.name ?? key)) {
      if (spec === undefined) this.setMode(value);
      else this.options[spec.name] = value;
    }
  }

  private isFirst(where: string, name: string): boolean {
    const first = !this.seen.has(name);
    this.seen.add(name);
    if (!first) this.problems.add(`${where}: ${name} is given more than once; keep one`);
    return first;
  }

  private setMode(value: string): void {
    this.memory = value === 'memory';
    this.mustExist = value === 'rw';
    if (value === 'ro') {
      this.problems.add(
        'DSN parameter mode: ro is refused: what arrives must be written; disablePublisher=true makes a read replica',
      );
    } else if (!['rw', 'rwc', 'memory'].includes(value)) {
      this.problems.add(`DSN parameter mode: ${JSON.stringify(value)} is not allowed; allowed: rwc, rw, memory`);
    }
  }
}

/** Reads the parameters of a DSN and notes everything that is wrong with them. */
export function readQuery(query: string, problems: Problems): DsnParameters {
  const reader = new QueryReader(problems);
  for (const pair of query.split('&')) if (pair !== '') reader.read(pair);
  const { options, memory, mustExist } = reader;
  return { options, pragmas: reader.pragmas.list, memory, mustExist };
}
