import type { Change, ChangeSet, RowChange, RowOperation, SequenceChange, WriteAnswer } from './changeset.js';
import { parseExactJson } from './exact-json.js';
import type { ExactJson, ExactObject } from './exact-json.js';
import { decodeValues, encodeValues } from './values.js';
import type { SqlValue } from './changeset.js';

/**
 * The wire format: one JSON object a transaction. This file alone knows its spelling, and has no side effects.
 *
 * Version history (header `HA-Version`):
 * - none: go-ha. No type letters; integers are exact in the text, but a REAL 2.0 is written `2`; a BLOB in a column
 *   declared exactly `BLOB` is base64 text.
 * - 1: adds `new_types` and `old_types` to a row change, `arg_types` to a statement, and `sequences` and `epoch` to the
 *   changeset, and to it, where they say something, `behind` and `untold`, by which history knows whether old values can
 *   be relied on; of leaders, `term` and `answer`. go-ha ignores members that it does not know.
 */
export const WIRE_VERSION = '1';

/** What all messages of one process start with. */
export interface MessageOrigin {
  readonly node: string;
  readonly processId: bigint;
  readonly filename: string;
}

/** The text in front of the first change. */
export function messageHead(origin: MessageOrigin): string {
  return `{"node":${JSON.stringify(origin.node)},"process_id":${origin.processId},"filename":${JSON.stringify(origin.filename)},"changes":[`;
}

/** What a message tells of its transaction beside the changes. */
export type MessageNotes = Pick<ChangeSet, 'behind' | 'untold' | 'term' | 'answer'>;

/** The text behind the last change. */
export function messageTail(
  sequences: readonly SequenceChange[],
  epoch: bigint,
  timestampNs: bigint,
  { behind = 0, untold = false, term, answer }: MessageNotes = {},
): string {
  const counters = sequences.length > 0 ? `"sequences":[${sequences.map(sequenceJson).join(',')}],` : '';
  const led = `${term === undefined ? '' : `"term":${term},`}${answer === undefined ? '' : answerJson(answer)}`;
  const notes = `${behind > 0 ? `"behind":${behind},` : ''}${untold ? '"untold":true,' : ''}${led}`;
  return `],${counters}"epoch":${epoch},${notes}"timestamp_ns":${timestampNs}}`;
}

function answerJson({ changes, lastInsertRowid }: WriteAnswer): string {
  return `"answer":{"changes":${changes},"rowid":${lastInsertRowid}},`;
}

function decodeAnswer(answer: ExactJson | undefined): WriteAnswer | undefined {
  if (!isObject(answer)) return undefined;
  return { changes: Number(integer(answer['changes']) ?? 0n), lastInsertRowid: integer(answer['rowid']) ?? 0n };
}

function sequenceJson(change: SequenceChange): string {
  const value = 'bump' in change ? `"bump":${change.bump}` : `"set":${change.set === null ? 'null' : change.set}`;
  return `{"table":${JSON.stringify(change.table)},${value}}`;
}

/** The members of a row change that are the same for every change of this kind, without the closing brace. */
export function rowChangeHead(
  operation: RowOperation,
  table: string,
  columns: readonly string[],
  pkColumns: readonly string[],
): string {
  const key = pkColumns.length > 0 ? `"pk_columns":${JSON.stringify(pkColumns)},` : '';
  return `{"database":"main","table":${JSON.stringify(table)},"columns":${JSON.stringify(columns)},${key}"operation":"${operation}",`;
}

/** A statement as a change. */
export function sqlChangeJson(command: string, args: readonly SqlValue[], timestampNs: bigint): string {
  const values = encodeValues(args);
  const types = values.types === undefined ? '' : `,"arg_types":"${values.types}"`;
  const members = args.length > 0 ? `,"args":${values.json}${types}` : '';
  return `{"operation":"SQL","command":${JSON.stringify(command)}${members},"ts_ns":${timestampNs}}`;
}

/** A message to the other nodes that changes no row. */
export function customChangeJson(command: string): string {
  return `{"operation":"CUSTOM","command":${JSON.stringify(command)}}`;
}

/**
 * Reads a message of this library or of go-ha.
 *
 * @throws SyntaxError where the text is not a changeset.
 */
export function decodeChangeSet(text: string): ChangeSet {
  const message = parseExactJson(text);
  if (!isObject(message)) throw new SyntaxError('a changeset is a JSON object');
  const behind = integer(message['behind']);
  const term = integer(message['term']);
  const answer = decodeAnswer(message['answer']);
  return {
    node: string(message, 'node', ''),
    processId: integer(message['process_id']) ?? 0n,
    filename: string(message, 'filename', ''),
    changes: array(message['changes'], 'changes').map(decodeChange),
    sequences: array(message['sequences'], 'sequences').map(decodeSequence),
    epoch: integer(message['epoch']) ?? 0n,
    timestampNs: integer(message['timestamp_ns']) ?? 0n,
    ...(behind === undefined ? {} : { behind: Number(behind) }),
    ...(message['untold'] === true ? { untold: true } : {}),
    ...(term === undefined ? {} : { term: Number(term) }),
    ...(answer === undefined ? {} : { answer }),
  };
}

/** One row change as a message has it, behind the {@link rowChangeHead} of its kind. */
export function rowChangeJson(change: RowChange, head: string, timestampNs: bigint): string {
  const { oldRowid, newRowid, oldValues, newValues } = change;
  const rowids = oldRowid === undefined && newRowid === undefined ? '' : rowidMembers(oldRowid, newRowid);
  const before = oldValues === undefined ? '' : imageMember('old', oldValues);
  const after = newValues === undefined ? '' : imageMember('new', newValues);
  return `${head}${rowids}${before}${after}"ts_ns":${timestampNs}}`;
}

function rowidMembers(old: bigint | undefined, now: bigint | undefined): string {
  return `"old_rowid":${old ?? now},"new_rowid":${now ?? old},`;
}

function imageMember(side: 'old' | 'new', values: readonly SqlValue[]): string {
  const { json, types } = encodeValues(values);
  return `"${side}_values":${json},${types === undefined ? '' : `"${side}_types":"${types}",`}`;
}

function decodeChange(value: ExactJson): Change {
  if (!isObject(value)) throw new SyntaxError('a change is a JSON object');
  const operation = string(value, 'operation');
  switch (operation) {
    case 'SQL':
      return {
        operation,
        command: string(value, 'command'),
        args: decodeValues(array(value['args'], 'args'), letters(value['arg_types'])),
      };
    case 'CUSTOM':
      return { operation, command: string(value, 'command', '') };
    case 'INSERT':
    case 'UPDATE':
    case 'DELETE':
      return decodeRow(operation, value);
    default:
      throw new SyntaxError(`unknown operation '${operation}'`);
  }
}

function decodeRow(operation: RowOperation, value: ExactObject): Change {
  const oldRowid = integer(value['old_rowid']);
  const newRowid = integer(value['new_rowid']);
  const images = {
    ...(operation === 'INSERT' ? {} : { oldValues: image(value, 'old_values', 'old_types') }),
    ...(operation === 'DELETE' ? {} : { newValues: image(value, 'new_values', 'new_types') }),
  };
  return {
    operation,
    database: string(value, 'database', 'main'),
    table: string(value, 'table'),
    columns: names(value['columns'], 'columns'),
    pkColumns: names(value['pk_columns'], 'pk_columns'),
    ...(oldRowid === undefined ? {} : { oldRowid }),
    ...(newRowid === undefined ? {} : { newRowid }),
    ...images,
  };
}

function image(value: ExactObject, member: string, types: string): SqlValue[] {
  return decodeValues(array(value[member], member), letters(value[types]));
}

function decodeSequence(value: ExactJson): SequenceChange {
  if (!isObject(value)) throw new SyntaxError('a sequence change is a JSON object');
  const table = string(value, 'table');
  const bump = integer(value['bump']);
  if (bump !== undefined) return { table, bump };
  return { table, set: integer(value['set']) ?? null };
}

function isObject(value: ExactJson | undefined): value is ExactObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function array(value: ExactJson | undefined, name: string): ExactJson[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new SyntaxError(`'${name}' is not an array`);
  return value;
}

function names(value: ExactJson | undefined, name: string): string[] {
  const list = array(value, name);
  for (const item of list) if (typeof item !== 'string') throw new SyntaxError(`'${name}' holds something but text`);
  return list as string[];
}

function string(value: ExactObject, name: string, missing?: string): string {
  const member = value[name];
  if (typeof member === 'string') return member;
  if ((member === undefined || member === null) && missing !== undefined) return missing;
  throw new SyntaxError(`'${name}' is not text`);
}

function letters(value: ExactJson | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function integer(value: ExactJson | undefined): bigint | undefined {
  return typeof value === 'bigint' ? value : undefined;
}
