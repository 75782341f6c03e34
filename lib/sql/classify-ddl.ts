import type { AlterAction, DDLInfo, SchemaObject, StatementFacts } from './statement-info.js';
import { UNKNOWN } from './statement-info.js';
import type { NameAt, StatementReader } from './statement-reader.js';
import { isTemp } from './statement-reader.js';

/** Reads a CREATE whose verb is at `index`. */
export function readCreate(reader: StatementReader, index: number): StatementFacts {
  const temporary = reader.isAny(index + 1, ['TEMP', 'TEMPORARY']);
  const noun = index + (temporary || reader.is(index + 1, 'UNIQUE') ? 2 : 1);
  const virtual = reader.is(noun, 'VIRTUAL', 'TABLE');
  const object = virtual ? 'virtual table' : objectAt(reader, noun);
  const condition = noun + (virtual ? 2 : 1);
  const ifNotExists = reader.is(condition, 'IF', 'NOT', 'EXISTS');
  const at = reader.name(ifNotExists ? condition + 3 : condition);
  if (!object || !at) return UNKNOWN;
  const asSelect = object === 'table' && reader.is(at.next, 'AS');
  const on = object === 'index' || object === 'trigger' ? ownerBehind(reader, at.next) : undefined;
  // A trigger without a schema goes where its table is.
  const temp = temporary || isTemp(at.name.schema ?? (object === 'trigger' ? on?.name.schema : undefined));
  return ddl({ ...names(at), action: 'create', object, ifNotExists, asSelect, ...(on && { on: on.name }) }, temp);
}

/** Reads a DROP whose verb is at `index`. */
export function readDrop(reader: StatementReader, index: number): StatementFacts {
  const object = objectAt(reader, index + 1);
  const ifExists = reader.is(index + 2, 'IF', 'EXISTS');
  const at = reader.name(ifExists ? index + 4 : index + 2);
  if (!object || !at) return UNKNOWN;
  return ddl({ ...names(at), action: 'drop', object, ifExists }, isTemp(at.name.schema));
}

/** Reads an ALTER TABLE whose verb is at `index`. */
export function readAlter(reader: StatementReader, index: number): StatementFacts {
  const at = reader.is(index + 1, 'TABLE') ? reader.name(index + 2) : undefined;
  if (!at) return UNKNOWN;
  const alter = alteration(reader, at.next);
  const newName = alter === 'rename' ? reader.name(at.next + 2)?.name.name : undefined;
  const found = {
    ...names(at),
    action: 'alter',
    object: 'table',
    alter,
    ...(newName !== undefined && { newName }),
  } as const;
  return ddl(found, isTemp(at.name.schema));
}

type Found = Pick<DDLInfo, 'action' | 'object' | 'name' | 'nameOffset'> & Partial<DDLInfo>;

function ddl(found: Found, temp: boolean): StatementFacts {
  return { kind: 'ddl', writes: true, temp, ddl: { ifExists: false, ifNotExists: false, asSelect: false, ...found } };
}

function names(at: NameAt): Pick<DDLInfo, 'name' | 'nameOffset'> {
  return { name: at.name, nameOffset: at.offset };
}

function objectAt(reader: StatementReader, index: number): SchemaObject | undefined {
  if (reader.is(index, 'TABLE')) return 'table';
  if (reader.is(index, 'INDEX')) return 'index';
  if (reader.is(index, 'VIEW')) return 'view';
  return reader.is(index, 'TRIGGER') ? 'trigger' : undefined;
}

/** ON is a reserved word: the first one is the clause, whatever the trigger's columns are called. */
function ownerBehind(reader: StatementReader, index: number): NameAt | undefined {
  for (let i = index; i < reader.length; i++) {
    if (reader.is(i, 'ON')) return reader.name(i + 1);
  }
  return undefined;
}

/** TO, CONSTRAINT and CHECK are reserved words; COLUMN may be left out, what else follows is a column's name. */
function alteration(reader: StatementReader, index: number): AlterAction {
  if (reader.is(index, 'RENAME')) return reader.is(index + 1, 'TO') ? 'rename' : 'rename column';
  if (reader.isAny(index + 1, ['CONSTRAINT', 'CHECK'])) return 'other';
  if (reader.is(index, 'ADD')) return 'add column';
  return reader.is(index, 'DROP') ? 'drop column' : 'other';
}
