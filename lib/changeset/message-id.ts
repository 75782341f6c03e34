/** A message id (`<origin>.<n>`), taken apart: the origin is random for each start of a database, `n` counts its messages. */
export interface MessageId {
  readonly origin: string;
  readonly n: number;
}

/** Splits a message id into origin and counter; undefined where it is not one of ours. */
export function parseMessageId(id: string): MessageId | undefined {
  const dot = id.lastIndexOf('.');
  const n = Number(id.slice(dot + 1));
  return dot > 0 && Number.isSafeInteger(n) && n > 0 ? { origin: id.slice(0, dot), n } : undefined;
}
