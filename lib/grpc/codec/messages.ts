import type { SqlValue } from './any.js';
import { readAny, utf8, writeAny } from './any.js';
import { WireError, WireReader, WireType, WireWriter } from './wire.js';

/** What the caller takes a statement for; the server decides itself where it is unspecified. */
export const QueryType = { UNSPECIFIED: 0, EXEC_UPDATE: 1, EXEC_QUERY: 2, PING: 3 } as const;

/** A parameter by name, or by its place from 1. */
export interface NamedValue {
  readonly name: string;
  readonly ordinal: number;
  readonly value: SqlValue;
}

/** A request as it came, or one to be sent. */
export interface QueryRequest {
  readonly type: number;
  readonly sql: string;
  readonly params: readonly NamedValue[];
  readonly replicationId: string;
  /** What another node wants the transaction to be called that is committed by this; of nodes alone. */
  readonly transactionId?: string;
  /** Limits of the transaction that is begun by this, ms; of nodes alone. */
  readonly idleTimeout?: number;
  readonly timeout?: number;
  /** Whether foreign keys are enforced in what is written or begun by this; of nodes alone. */
  readonly foreignKeys?: boolean;
}

/** On the wire, where 0 is nothing. */
const ENFORCED = 1n;
const NOT_ENFORCED = 2n;

/** What a message tells of an error, besides its text. */
export interface ErrorFields {
  /** `HA_…`, or SQLite's own `SQLITE_…`. */
  readonly code: string;
  readonly retryable: boolean;
  /** JSON. */
  readonly details: string;
}

/** An answer. */
export interface QueryResponse {
  readonly resultSet:
    { readonly columns: readonly string[]; readonly rows: readonly (readonly SqlValue[])[] } | undefined;
  readonly rowsAffected: bigint;
  readonly lastInsertId: bigint;
  readonly txseq: bigint;
  readonly error: string;
  /** More rows of the same result follow in another message. */
  readonly more: boolean;
  readonly errorFields: ErrorFields | undefined;
}

/**
 * Reads a request. Text and parameters are only looked at here; a mistake in one of them must not end the session.
 *
 * @throws WireError where it is no request, or holds what cannot be bound.
 */
export function readRequest(bytes: Uint8Array): QueryRequest {
  let type = 0;
  let sql = '';
  let replicationId = '';
  let transactionId: string | undefined;
  let idleTimeout: number | undefined;
  let timeout: number | undefined;
  let foreignKeys: bigint | undefined;
  const params: NamedValue[] = [];
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const tag = reader.tag();
    if (tag.field === 101 && tag.type === WireType.VARINT) idleTimeout = Number(reader.varint64());
    else if (tag.field === 102 && tag.type === WireType.VARINT) timeout = Number(reader.varint64());
    else if (tag.field === 103 && tag.type === WireType.VARINT) foreignKeys = reader.varint64();
    else if (tag.field === 1 && tag.type === WireType.VARINT) type = Number(BigInt.asIntN(32, reader.varint64()));
    else if (tag.type !== WireType.BYTES) reader.skip(tag.type);
    else if (tag.field === 2) sql = utf8(reader.bytes());
    else if (tag.field === 3) params.push(readParameter(reader.bytes(), params.length + 1));
    else if (tag.field === 4) replicationId = utf8(reader.bytes());
    else if (tag.field === 100) transactionId = utf8(reader.bytes());
    else reader.skip(tag.type);
  }
  const forwarded = {
    ...(transactionId === undefined ? {} : { transactionId }),
    ...(idleTimeout === undefined ? {} : { idleTimeout }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(foreignKeys === undefined ? {} : { foreignKeys: isEnforced(foreignKeys) }),
  };
  return { type, sql, params, replicationId, ...forwarded };
}

function isEnforced(value: bigint): boolean {
  if (value === ENFORCED || value === NOT_ENFORCED) return value === ENFORCED;
  throw new WireError(`foreign_keys: ${value} is neither ${ENFORCED} (enforced) nor ${NOT_ENFORCED} (not enforced)`);
}

function readParameter(bytes: Buffer, place: number): NamedValue {
  let name = '';
  let ordinal = 0n;
  let value: SqlValue | undefined;
  try {
    const reader = new WireReader(bytes);
    while (!reader.done) {
      const { field, type } = reader.tag();
      if (field === 1 && type === WireType.BYTES) name = utf8(reader.bytes());
      else if (field === 2 && type === WireType.VARINT) ordinal = BigInt.asIntN(64, reader.varint64());
      else if (field === 3 && type === WireType.BYTES) value = readAny(reader.bytes());
      else reader.skip(type);
    }
    if (value === undefined) throw new WireError('it has no value; NULL is google.protobuf.Empty');
  } catch (error) {
    if (error instanceof WireError) throw new WireError(`parameter ${place} (${name || ordinal}): ${error.message}`);
    throw error;
  }
  return { name, ordinal: Number(ordinal), value };
}

/** For what is written in one go. */
const whole = new WireWriter();
const part = new WireWriter();

/** Writes a request. */
export function writeRequest(request: QueryRequest): Buffer {
  const writer = scratch(whole);
  if (request.type !== 0) {
    writer.tag(1, WireType.VARINT);
    writer.varint(request.type);
  }
  writeTextField(writer, 2, request.sql);
  const parameter = part;
  for (const { name, ordinal, value } of request.params) {
    parameter.reset();
    writeTextField(parameter, 1, name);
    writeInt64Field(parameter, 2, BigInt(ordinal));
    writeAny(parameter, 0x1a, value);
    writer.tag(3, WireType.BYTES);
    writer.bytes(parameter.view());
  }
  writeTextField(writer, 4, request.replicationId);
  writeTextField(writer, 100, request.transactionId ?? '');
  writeInt64Field(writer, 101, BigInt(Math.ceil(request.idleTimeout ?? 0)));
  writeInt64Field(writer, 102, BigInt(Math.ceil(request.timeout ?? 0)));
  if (request.foreignKeys !== undefined) writeInt64Field(writer, 103, request.foreignKeys ? ENFORCED : NOT_ENFORCED);
  return writer.finish();
}

/** What an answer says besides rows. */
export interface AnswerFields {
  readonly rowsAffected?: number;
  readonly lastInsertId?: number | bigint;
  readonly txseq?: bigint | undefined;
  readonly error?: string;
  readonly more?: boolean;
  readonly errorFields?: ErrorFields | undefined;
}

/** Gathers rows of one answer. Each row is written as soon as it is read, so nothing but bytes is kept. */
export class AnswerWriter {
  private readonly data = new WireWriter();
  private readonly row = new WireWriter();

  /** @param columns Undefined where the answer has no result set. */
  constructor(private readonly columns: readonly string[] | undefined) {
    for (const name of columns ?? []) {
      this.data.tag(1, WireType.BYTES);
      this.data.text(name);
    }
  }

  /** Bytes of the rows so far. */
  get length(): number {
    return this.data.length;
  }

  add(values: readonly unknown[]): void {
    const { row, data } = this;
    row.reset();
    for (const value of values) writeAny(row, 0x0a, value);
    data.tag(2, WireType.BYTES);
    data.bytes(row.view());
  }

  finish(fields: AnswerFields): Buffer {
    const { columns, data } = this;
    const writer = scratch(whole);
    if (columns !== undefined) {
      writer.tag(1, WireType.BYTES);
      writer.bytes(data.view());
    }
    writeInt64Field(writer, 2, BigInt(fields.rowsAffected ?? 0));
    writeInt64Field(writer, 3, BigInt(fields.lastInsertId ?? 0));
    writeInt64Field(writer, 4, fields.txseq ?? 0n);
    writeTextField(writer, 5, fields.error ?? '');
    if (fields.more === true) writeInt64Field(writer, 100, 1n);
    const { errorFields } = fields;
    if (errorFields !== undefined) {
      writeTextField(writer, 101, errorFields.code);
      writeInt64Field(writer, 102, errorFields.retryable ? 1n : 0n);
      writeTextField(writer, 103, errorFields.details);
    }
    return writer.finish();
  }
}

/** @throws WireError where it is no answer. */
export function readResponse(bytes: Uint8Array): QueryResponse {
  const answer = { ...NO_ANSWER };
  const fields = { code: '', retryable: false, details: '' };
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const { field, type } = reader.tag();
    if (type === WireType.BYTES) {
      const value = reader.bytes();
      if (field === 1) answer.resultSet = readData(value);
      else if (field === 5) answer.error = utf8(value);
      else if (field === 101) fields.code = utf8(value);
      else if (field === 103) fields.details = utf8(value);
    } else if (type !== WireType.VARINT) reader.skip(type);
    else {
      const value = reader.varint64();
      if (field === 2) answer.rowsAffected = BigInt.asIntN(64, value);
      else if (field === 3) answer.lastInsertId = BigInt.asIntN(64, value);
      else if (field === 4) answer.txseq = value;
      else if (field === 100) answer.more = value !== 0n;
      else if (field === 102) fields.retryable = value !== 0n;
    }
  }
  if (fields.code !== '') answer.errorFields = fields;
  return answer;
}

const NO_ANSWER: { -readonly [Field in keyof QueryResponse]: QueryResponse[Field] } = {
  resultSet: undefined,
  rowsAffected: 0n,
  lastInsertId: 0n,
  txseq: 0n,
  error: '',
  more: false,
  errorFields: undefined,
};

function readData(bytes: Buffer): NonNullable<QueryResponse['resultSet']> {
  const columns: string[] = [];
  const rows: SqlValue[][] = [];
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const { field, type } = reader.tag();
    if (field === 1 && type === WireType.BYTES) columns.push(utf8(reader.bytes()));
    else if (field === 2 && type === WireType.BYTES) rows.push(readRow(reader.bytes()));
    else reader.skip(type);
  }
  return { columns, rows };
}

function readRow(bytes: Buffer): SqlValue[] {
  const values: SqlValue[] = [];
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const { field, type } = reader.tag();
    if (field === 1 && type === WireType.BYTES) values.push(readAny(reader.bytes()));
    else reader.skip(type);
  }
  return values;
}

/** Large buffers are not kept for small messages. */
const KEPT_BYTES = 1024 * 1024;

function scratch(writer: WireWriter): WireWriter {
  writer.reset(KEPT_BYTES);
  return writer;
}

function writeTextField(writer: WireWriter, field: number, text: string): void {
  if (text === '') return;
  writer.tag(field, WireType.BYTES);
  writer.text(text);
}

function writeInt64Field(writer: WireWriter, field: number, value: bigint): void {
  if (value === 0n) return;
  writer.tag(field, WireType.VARINT);
  writer.varint64(value);
}
