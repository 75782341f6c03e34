import { isRowChange } from '../../lib/changeset/changeset.js';
import { decodeChangeSet } from '../../lib/changeset/codec.js';
import type { HAConflict } from '../../lib/common/events.js';
import type { MemoryLog } from '../../lib/stream/memory/memory-log.js';
import { SUBJECT } from './sim-node.js';
import { difference } from './dump.js';
import { Divergence } from './world.js';
import type { SimNode } from './sim-node.js';
import type { Write, World } from './world.js';

/** Errors after which nobody can know whether the transaction is stored. */
const OPEN_ENDED = new Set(['HA_PUBLISH_UNKNOWN']);

/** The table in which transactions leave their marks. */
export const MARKS = 'CREATE TABLE marks(mark TEXT PRIMARY KEY) WITHOUT ROWID';

export function markSql(mark: string): string {
  return `INSERT INTO marks VALUES('${mark}')`;
}

/**
 * Checks a world that has come to rest.
 *
 * @throws Divergence where a node is not the fold of the stream, where it tells other conflicts than the stream holds, where a write that was answered is not in the stream
 * exactly once, and where one that failed for certain is in it.
 */
export function checkWorld(world: World): void {
  for (const node of world.nodes) world.check(node.index);
  for (const node of world.nodes) node.mirror?.check(`n${node.index}`, node.db.reader);
  world.oracle.at(world.log.state().lastSequence);
  checkConflicts(world);
  for (const node of world.nodes) {
    if (!node.isUnbroken) continue;
    checkLeftOut(world, node);
    checkIntercepted(world, node);
  }
  const hasMarks = world.oracle.column(`SELECT 1 FROM sqlite_schema WHERE name = 'marks'`).length > 0;
  const effective = new Set(hasMarks ? world.oracle.column('SELECT mark FROM marks') : []);
  // An undo takes marks away.
  for (const sequence of world.undos.length > 0 ? takingMarks(world.log) : []) {
    for (const mark of world.oracle.columnAt(sequence - 1, 'SELECT mark FROM marks')) effective.add(mark);
  }
  checkUndos(world);
  const stored = messagesByMark(world.log);
  for (const write of world.writes)
    checkWrite(write, stored.get(write.mark ?? '') ?? 0, effective, world.undos.length > 0);
  checkSequences(world);
}

/** Why an undo may be refused, or not get an answer. */
const REFUSALS =
  /^HA_(UNDO_(INVALID|REFUSED|CONFLICT)|HISTORY_INVALID|PUBLISH_UNKNOWN|PUBLISH_FAILED|CONFLICT|UNAVAILABLE|WAIT_TIMEOUT|DUPLICATE_ID|STREAM_CONNECT)$/;

/** What is undone whole is what it was: every row, with its rowid. AUTOINCREMENT counters stay. */
function checkUndos(world: World): void {
  for (const { write, from, scope, force, result } of world.undos) {
    const { error, orphaned, node } = write;
    const name = `the undo of n${node} from ${from} (${scope}${force ? ', forced' : ''})`;
    if (error !== undefined && !orphaned && !REFUSALS.test(error.code ?? '')) {
      throw new Divergence(`${name} failed: ${error.stack ?? error.message}`);
    }
    if (result?.sequence === undefined) continue;
    const takes =
      scope === 'all' ? (line: string): boolean => !line.startsWith('counter ') : touchedBy(world.log, from);
    const rows = (sequence: number): string => world.oracle.at(sequence).split('\n').filter(takes).join('\n');
    const [before, now] = [rows(from - 1), rows(Number(result.sequence))];
    if (before !== now)
      throw new Divergence(`${name} at ${result.sequence} is not what it was:\n${difference(now, before)}`);
    world.undone++;
  }
}

/** The lines of a dump that speak of rows that the message at a sequence touched, as far as they have an integer key. */
function touchedBy(log: MemoryLog, sequence: number): (line: string) => boolean {
  const { changes } = decodeChangeSet(Buffer.from(log.at(sequence)?.data ?? '').toString('utf8'));
  const starts = changes.filter(isRowChange).flatMap(({ table, pkColumns, oldRowid, newRowid }) => {
    if (pkColumns.join() !== 'id') return [];
    return [oldRowid, newRowid].map((rowid) => `${table} ${rowid}: `);
  });
  return (line) => starts.some((start) => line.startsWith(start));
}

/** Every sequence that a write was answered with is a message of its node, and of no other write. */
function checkSequences(world: World): void {
  const answered = new Set<bigint>();
  for (const { sequence, node } of world.writes) {
    if (sequence === undefined) continue;
    if (answered.has(sequence)) throw new Divergence(`two writes were answered with sequence ${sequence}`);
    answered.add(sequence);
    const message = world.log.at(Number(sequence));
    const writer = message === undefined ? undefined : decodeChangeSet(Buffer.from(message.data).toString('utf8')).node;
    if (writer !== `n${node}`) {
      throw new Divergence(
        `a write of n${node} was answered with sequence ${sequence}, which ${writer ?? 'nobody'} wrote`,
      );
    }
  }
}

/** A node that saw everything has to tell what was left out, its own changes too, each once. */
function checkLeftOut(world: World, { index, skipped }: SimNode): void {
  const told = skipped.map(({ sequence, reason }) => `${sequence} ${reason}`).sort();
  const expected = world.oracle.leftOut.map(({ sequence, reason }) => `${sequence} ${reason}`).sort();
  if (told.join('\n') === expected.join('\n')) return;
  throw new Divergence(
    `n${index} tells other changes that were left out: ${told.join('; ')}, not ${expected.join('; ')}`,
  );
}

/** A node that saw everything has to tell what interceptors changed, of its own transactions too, each once. */
function checkIntercepted(world: World, { index, intercepted }: SimNode): void {
  const told = intercepted.map(({ sequence, interceptors }) => `${sequence} ${interceptors.join(' ')}`);
  if (told.join('\n') === world.oracle.intercepted.join('\n')) return;
  throw new Divergence(
    `n${index} tells other transactions that were intercepted: ${told.join('; ')}, not ${world.oracle.intercepted.join('; ')}`,
  );
}

/**
 * Nodes that saw everything have to tell the same conflicts: those that the stream holds, each once. Where the
 * search through the stream does not know every row again, they only have to agree.
 */
function checkConflicts(world: World): void {
  const unbroken = world.nodes.filter((node) => node.isUnbroken);
  const [first] = unbroken;
  if (first === undefined) return;
  for (const node of unbroken) compareConflicts(node, first.conflicts);
  if (!world.knowsRows) return;
  // What lies beyond the memory of nodes is told as far as it is known: they only have to agree.
  const isKnown = ({ sequence }: HAConflict): boolean => !world.oracle.isBeyond(Number(sequence));
  const conflicts = first.conflicts.filter(isKnown);
  compareConflicts({ index: first.index, conflicts }, world.oracle.conflicts.filter(isKnown));
}

function compareConflicts(
  { index, conflicts }: Pick<SimNode, 'index' | 'conflicts'>,
  reference: readonly HAConflict[],
): void {
  const told = conflicts.map(describeConflict).sort();
  const expected = reference.map(describeConflict).sort();
  if (told.join('\n') === expected.join('\n')) return;
  const extra = told.filter((line) => !expected.includes(line)).map((line) => `  node tells   ${line}`);
  const missing = expected.filter((line) => !told.includes(line)).map((line) => `  should tell  ${line}`);
  throw new Divergence(
    `n${index} tells other conflicts (${told.length}, not ${expected.length}):\n${[...extra, ...missing].join('\n')}`,
  );
}

function describeConflict(conflict: HAConflict): string {
  return JSON.stringify(conflict, (_name, value: unknown) => {
    if (typeof value === 'bigint') return `${value}n`;
    return typeof value === 'number' ? `${value}r` : value;
  });
}

/** With `undone` marks occur in more messages than their own. */
function checkWrite(write: Write, messages: number, effective: ReadonlySet<unknown>, undone: boolean): void {
  const { state, error, mark, orphaned, node, outcomes } = write;
  const name = `the write ${mark ?? '(without mark)'} of n${node}`;
  if (state === 'pending' && !orphaned) throw new Divergence(`${name} was never answered`);
  if (mark === undefined) return;
  const counts = effective.has(mark);
  if (messages > 1 && !undone) throw new Divergence(`${name} is in the stream ${messages} times`);
  if (state === 'resolved' && !counts) throw new Divergence(`${name} was acknowledged, and is not in the fold`);
  for (const { state: said } of outcomes) {
    if (said !== 'unknown' && (said === 'committed') !== counts) {
      throw new Divergence(`${name} was said to be ${said}, and is ${counts ? '' : 'not '}in the fold`);
    }
  }
  if (outcomes.length > 0 && outcomes.at(-1)?.state === 'unknown') throw new Divergence(`${name} stayed unknown`);
  if (state === 'rejected' && counts && !OPEN_ENDED.has(error?.code ?? '')) {
    throw new Divergence(`${name} failed (${error?.code ?? ''} ${error?.message ?? ''}), and is in the fold`);
  }
}

/** Sequences of the messages that take marks away. */
function takingMarks(log: MemoryLog): number[] {
  const { lastSequence } = log.state();
  return Array.from({ length: lastSequence }, (_value, index) => index + 1).filter((sequence) =>
    /"table":"marks"[^{}]*"operation":"DELETE"/.test(Buffer.from(log.at(sequence)?.data ?? '').toString('utf8')),
  );
}

/** How many transactions with different ids carry each mark; those of several messages count where they are complete. */
function messagesByMark(log: MemoryLog): Map<string, number> {
  const ids = new Map<string, Set<string>>();
  const open = new Map<string, { parts: Set<string>; text: string }>();
  const count = (id: string, text: string): void => {
    for (const [mark] of text.matchAll(/mark-\d+-/g)) ids.set(mark, (ids.get(mark) ?? new Set()).add(id));
  };
  const { lastSequence } = log.state();
  for (let sequence = 1; sequence <= lastSequence; sequence++) {
    const message = log.at(sequence);
    if (message?.subject !== SUBJECT) continue;
    const text = Buffer.from(message.data).toString('utf8');
    const [transaction = message.id ?? '', place = '1/1'] = message.chunk?.split(';') ?? [];
    const whole = open.get(transaction) ?? { parts: new Set(), text: '' };
    open.set(transaction, { parts: whole.parts.add(place), text: whole.text + text });
    const [part, parts] = place.split('/');
    if (place === 'abort') open.delete(transaction);
    else if (part === parts && whole.parts.size === Number(parts)) count(transaction, whole.text + text);
  }
  return new Map([...ids].map(([mark, set]) => [mark, set.size]));
}
