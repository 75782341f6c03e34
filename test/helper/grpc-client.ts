import { once } from 'node:events';
import { credentials as grpcCredentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js';
import type { ChannelCredentials, Client, ClientDuplexStream, ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';

/** A value as other clients pack it. */
export interface Any {
  readonly type_url: string;
  readonly value: Buffer;
}

export interface Answer {
  readonly result_set: { readonly columns: string[]; readonly rows: { readonly values: Any[] }[] } | null;
  readonly rows_affected: string;
  readonly last_insert_id: string;
  readonly txseq: string;
  readonly error: string;
  readonly more: boolean;
  readonly error_code: string;
  readonly error_retryable: boolean;
  readonly error_details: string;
}

export interface Parameter {
  readonly name?: string;
  readonly ordinal?: number | string;
  readonly value?: Any;
}

const PREFIX = 'type.googleapis.com/';
const types = protobuf.loadSync('test/helper/well-known.proto');

/** Packs a value into a wrapper, as generated code of any language would. */
export function pack(type: string, content: object): Any {
  const message = types.lookupType(`google.protobuf.${type}`);
  const value = Buffer.from(message.encode(message.fromObject(content)).finish());
  return { type_url: `${PREFIX}google.protobuf.${type}`, value };
}

/** What a cell holds: the name of its wrapper, and its value; int64 as text. */
export function unpack({ type_url: url, value }: Any): [type: string, value: unknown] {
  const name = url.slice(PREFIX.length);
  const type = types.lookupType(name);
  const content = type.toObject(type.decode(value), { longs: String, defaults: true, bytes: Buffer });
  return [name.replace('google.protobuf.', ''), name.endsWith('Empty') ? null : (content['value'] ?? content)];
}

/** Rows with their types. */
export function unpackRows(answer: Answer): unknown[][] {
  return (answer.result_set?.rows ?? []).map(({ values }) => values.map(unpack));
}

/** Rows of plain values. */
export function valuesOf(answer: Answer): unknown[][] {
  return (answer.result_set?.rows ?? []).map(({ values }) => values.map((value) => unpack(value)[1]));
}

/** A client made of the .proto file alone, as in Go, Java or Python. */
export class ProtoClient {
  private readonly client: Client & Record<string, (...args: unknown[]) => unknown>;
  private readonly metadata = new Metadata();

  constructor(
    readonly target: string,
    settings: { token?: string; version?: boolean; credentials?: ChannelCredentials; options?: object } = {},
  ) {
    const definition = loadSync('proto/sql/v1/database_service.proto', {
      keepCase: true,
      longs: String,
      enums: String,
      defaults: true,
    });
    const { sql } = loadPackageDefinition(definition) as unknown as {
      sql: { v1: { DatabaseService: new (...args: unknown[]) => Client } };
    };
    const { token, version, credentials = grpcCredentials.createInsecure(), options = {} } = settings;
    const limits = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1, ...options };
    this.client = new sql.v1.DatabaseService(target, credentials, limits) as ProtoClient['client'];
    if (token !== undefined) this.metadata.set('authorization', token);
    if (version === true) this.metadata.set('ha-version', '1');
  }

  /** A session; `replicationId` goes into every request that names none. */
  session(replicationId = ''): ProtoSession {
    const stream = this.client['Query']?.(this.metadata) as ClientDuplexStream<object, Answer>;
    return new ProtoSession(stream, replicationId);
  }

  unary<T>(method: string): Promise<T> {
    return new Promise((resolve, reject) => {
      this.client[method]?.({}, this.metadata, (error: ServiceError | null, answer: T) =>
        error === null ? resolve(answer) : reject(error),
      );
    });
  }

  /** A call that streams bytes. */
  async bytes(method: string, replicationId: string): Promise<Buffer[]> {
    const stream = this.open(method, replicationId);
    const chunks: Buffer[] = [];
    for await (const { data } of stream as AsyncIterable<{ data: Buffer }>) chunks.push(data);
    return chunks;
  }

  open(method: string, replicationId: string): ClientReadableStream<{ data: Buffer }> {
    return this.client[method]?.({ replication_id: replicationId }, this.metadata) as ClientReadableStream<{
      data: Buffer;
    }>;
  }

  close(): void {
    this.client.close();
  }
}

/** One stream of `Query`. */
export class ProtoSession {
  private readonly answers: Answer[] = [];
  private wake: () => void = () => undefined;
  private ended: ServiceError | 'ended' | undefined;

  constructor(
    readonly stream: ClientDuplexStream<object, Answer>,
    private readonly replicationId: string,
  ) {
    stream.on('data', (answer: Answer) => {
      this.answers.push(answer);
      this.wake();
    });
    stream.on('error', (error: ServiceError) => this.finish(error));
    stream.on('end', () => this.finish('ended'));
  }

  /** Sends a request, and waits for its answer. */
  async ask(
    sql: string,
    params: readonly (Any | Parameter)[] = [],
    type = 'QUERY_TYPE_UNSPECIFIED',
    replicationId = this.replicationId,
  ): Promise<Answer> {
    this.send(sql, params, type, replicationId);
    return this.next();
  }

  exec(sql: string, params: readonly (Any | Parameter)[] = []): Promise<Answer> {
    return this.ask(sql, params, 'QUERY_TYPE_EXEC_UPDATE');
  }

  query(sql: string, params: readonly (Any | Parameter)[] = []): Promise<Answer> {
    return this.ask(sql, params, 'QUERY_TYPE_EXEC_QUERY');
  }

  send(
    sql: string,
    params: readonly (Any | Parameter)[] = [],
    type = 'QUERY_TYPE_UNSPECIFIED',
    replicationId = this.replicationId,
  ): void {
    const named = params.map((param, index) =>
      'type_url' in param ? { ordinal: index + 1, value: param } : { ordinal: index + 1, ...param },
    );
    this.stream.write({ type, sql, params: named, replication_id: replicationId });
  }

  async next(): Promise<Answer> {
    while (this.answers.length === 0) {
      if (this.ended === 'ended') throw new Error('The stream has ended.');
      if (this.ended !== undefined) throw this.ended;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    return this.answers.shift() as Answer;
  }

  /** Ends the stream in good order. */
  async end(): Promise<void> {
    this.stream.end();
    if (this.ended === undefined) await once(this.stream, 'end');
  }

  /** Breaks it off. */
  cancel(): void {
    this.stream.cancel();
  }

  private finish(reason: ServiceError | 'ended'): void {
    this.ended ??= reason;
    this.wake();
  }
}
