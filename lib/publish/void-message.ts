import type { ChangeSet } from '../changeset/changeset.js';

/**
 * A message with this CUSTOM command takes an id, so that the transaction of that id can never count: its own id, or the one
 * that stands behind the command. go-ha ignores it.
 */
const VOID_COMMAND = 'ha.void';

/** @param id Of the transaction; absent where the message itself has that id. */
export function voidCommand(id?: string): string {
  return id === undefined ? VOID_COMMAND : `${VOID_COMMAND} ${id}`;
}

/** True where the text of a message may be that of a void. */
export function mayBeVoid(data: Buffer): boolean {
  return data.includes(VOID_COMMAND);
}

/** The id that a message takes; undefined where it takes none. */
export function voidedId(changeSet: Pick<ChangeSet, 'changes'> | undefined, messageId: string): string | undefined {
  const [only, ...others] = changeSet?.changes ?? [];
  if (others.length > 0 || only?.operation !== 'CUSTOM') return undefined;
  if (only.command === VOID_COMMAND) return messageId;
  return only.command.startsWith(`${VOID_COMMAND} `) ? only.command.slice(VOID_COMMAND.length + 1) : undefined;
}
