import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadSync } from '@grpc/proto-loader';
import type { MethodDefinition, PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';
import type { QueryRequest, QueryResponse } from './codec/messages.js';
import { readRequest, readResponse, writeRequest } from './codec/messages.js';

/** Name of the package, and of its only service. */
export const PACKAGE = 'sql.v1';
export const SERVICE = 'DatabaseService';

/** A request that could be read, or why it could not: a mistake in one is answered, and the session goes on. */
export type ReceivedRequest = { readonly request: QueryRequest } | { readonly failure: unknown };

type Method = MethodDefinition<object, object>;

/** The service with what is hot written by hand: answers of the server are bytes already, and requests are read exactly. */
export function serverDefinition(): PackageDefinition {
  return withQuery({
    requestDeserialize: received,
    responseSerialize: (answer: unknown) => answer as Buffer,
  });
}

/** The same for callers: they send {@link QueryRequest}s and get {@link QueryResponse}s. */
export function clientDefinition(): PackageDefinition {
  return withQuery({
    requestSerialize: (request: unknown) => writeRequest(request as QueryRequest),
    responseDeserialize: (bytes: Buffer): QueryResponse => readResponse(bytes),
  });
}

function received(bytes: Buffer): ReceivedRequest {
  try {
    return { request: readRequest(bytes) };
  } catch (failure) {
    return { failure };
  }
}

function withQuery(own: object): PackageDefinition {
  const definition = loadSync(protoPath(), { keepCase: true, longs: String, enums: String, defaults: true });
  const name = `${PACKAGE}.${SERVICE}`;
  const service = definition[name] as ServiceDefinition;
  const query = { ...(service['Query'] as Method), ...own } as Method;
  return { ...definition, [name]: { ...service, Query: query } };
}

/** The file is a part of the package, two folders above what is built from this one. */
export function protoPath(): string {
  const file = 'proto/sql/v1/database_service.proto';
  const places = ['../../', '../../../'].map((up) => fileURLToPath(new URL(up + file, import.meta.url)));
  return places.find((path) => existsSync(path)) ?? (places[0] as string);
}
