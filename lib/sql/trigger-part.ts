import { Char } from './characters.js';
import { foldCase } from './identifiers.js';
import { StatementReader } from './statement-reader.js';

/**
 * A CREATE TRIGGER with only those statements of its body that write to some tables; undefined where none does.
 *
 * @param tables names as `foldCase` gives them; names in a body have no schema.
 */
export function partOfTrigger(sql: string, tables: ReadonlySet<string>): string | undefined {
  const reader = new StatementReader(sql);
  const begin = bodyAt(reader);
  if (begin === undefined) return undefined;
  const kept: string[] = [];
  let first = begin + 1;
  for (let i = first; i < reader.length; i++) {
    if (!reader.isOperator(i, Char.SEMICOLON)) continue;
    if (writesTo(reader, first, i, tables)) kept.push(`${reader.text(first, i - 1)};`);
    first = i + 1;
  }
  return kept.length === 0 ? undefined : `${reader.text(0, begin)} ${kept.join(' ')} END`;
}

/**
 * The body of a trigger that runs in front of an UPDATE or DELETE; undefined of any other. BEFORE need not be said:
 * https://www.sqlite.org/lang_createtrigger.html
 */
export function bodyBefore(sql: string): string | undefined {
  const reader = new StatementReader(sql);
  let at = reader.isAny(1, ['TEMP', 'TEMPORARY']) ? 3 : 2;
  if (reader.is(at, 'IF', 'NOT', 'EXISTS')) at += 3;
  at = reader.name(at)?.next ?? at;
  if (reader.isAny(at, ['AFTER', 'INSTEAD'])) return undefined;
  if (reader.is(reader.is(at, 'BEFORE') ? at + 1 : at, 'INSERT')) return undefined;
  return reader.text(bodyAt(reader) ?? 0, reader.length - 1);
}

/** The BEGIN of the body: the first that a statement follows. `begin` may be the name of a column too. */
function bodyAt(reader: StatementReader): number | undefined {
  for (let i = 0; i < reader.length; i++) {
    if (
      reader.is(i, 'BEGIN') &&
      reader.isAny(i + 1, ['INSERT', 'REPLACE', 'UPDATE', 'DELETE', 'SELECT', 'WITH', 'VALUES'])
    ) {
      return i;
    }
  }
  return undefined;
}

function writesTo(reader: StatementReader, first: number, end: number, tables: ReadonlySet<string>): boolean {
  for (let i = first; i < end; i++) {
    const at = targetAt(reader, i);
    if (at === undefined) continue;
    const name = reader.name(at)?.name.name;
    return name !== undefined && tables.has(foldCase(name));
  }
  return false;
}

/** Where the name of the table stands that the words at `index` write to; undefined where they do not. */
export function targetAt(reader: StatementReader, index: number): number | undefined {
  if (reader.is(index, 'INTO')) return index + 1;
  if (reader.is(index, 'DELETE', 'FROM')) return index + 2;
  if (!reader.is(index, 'UPDATE')) return undefined;
  return reader.is(index + 1, 'OR') ? index + 3 : index + 1;
}
