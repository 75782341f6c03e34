import { join } from 'node:path';
import { resolveOptions } from '../../../lib/config/resolve.js';
import { HARuntime } from '../../../lib/ha-runtime.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { collect, onCleanup, temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { SimRandom } from '../../sim/random.js';
import { generateSchema, schemaSql } from '../../sim/schema-generator.js';
import type { SchemaSpec } from '../../sim/schema-generator.js';
import { generateStatement } from '../../sim/statement-generator.js';
import type { Features } from '../../sim/features.js';
import { pairOn, settled } from './pairs.js';

const KINDS = ['integer', 'autoincrement', 'composite', 'withoutRowid', 'nullableKey', 'keyless'] as const;
const FEATURES: Features = {
  kinds: KINDS,
  unique: true,
  nocase: true,
  foreignKeys: true,
  triggers: true,
  recursiveTriggers: 'mixed',
};
const RUNS = Number(process.env['UNDO_RUNS'] ?? 6);
/** A new seed every day; a failure is run again with `UNDO_SEED`. */
const SEED = Number(process.env['UNDO_SEED'] ?? new Date().toISOString().slice(0, 10).replaceAll('-', ''));
const SEEDS = Array.from({ length: RUNS }, (_value, index) => SEED + index);

/** Runs something that may fail for what random statements do to each other. */
async function attempt(work: Promise<unknown>): Promise<void> {
  await work.catch((error: Error & { code?: string }) => {
    const isUsual = /^SQLITE_(CONSTRAINT|MISMATCH)|^HA_TRANSACTION_CLOSED/.test(error.code ?? '');
    if (!isUsual && !error.message.includes('trigger recursion')) throw error;
  });
}

/** Undoes, and returns the sequence of that; a range may move counters and change no rows. */
async function undo(db: HADatabase, from: bigint): Promise<bigint | undefined> {
  return db.undo({ from }).then(
    ({ sequence }) => sequence,
    (error: { code?: string }) => {
      if (error.code !== 'HA_UNDO_INVALID') throw error as Error;
      return undefined;
    },
  );
}

function pragmas({ foreignKeys, recursiveTriggers }: SchemaSpec): string {
  return `_foreign_keys=${foreignKeys ? 'on' : 'off'}&_pragma=recursive_triggers(${recursiveTriggers ? 1 : 0})`;
}

function script(random: SimRandom, schema: SchemaSpec): string {
  const count = random.between(1, 4);
  return Array.from({ length: count }, () => generateStatement(random, random.pick(schema.tables), false)).join(';\n');
}

const rowsOf = (path: string): unknown => ({ ...dumpFile(path), sequences: [] });

it.each(SEEDS)('standalone, what is undone from a random place is what it was (UNDO_SEED=%i)', async (seed) => {
  const random = new SimRandom(seed);
  const schema = generateSchema(random, FEATURES);
  const path = join(temporaryFolder(), 'my.db');
  const options = resolveOptions(
    `file:${path}?_synchronous=off&${pragmas(schema)}`,
    { name: 'n', replicationID: 'my', streamMaxAge: '1h' },
    {},
  );
  const db = new HADatabase(new HARuntime(options, { logger: collect([]), retryAttempts: 0, retryDelay: 1 }));
  onCleanup(() => db.close());
  await db.exec(schemaSql(schema).join(';\n'));
  const first = db.position().received;
  for (let round = 0; round < 4; round++) {
    for (let n = random.between(1, 12); n > 0; n--) await attempt(db.exec(script(random, schema)));
    const last = db.position().received;
    if (last === first) continue;
    const from = first + 1n + BigInt(random.below(Number(last - first)));
    const copy = join(temporaryFolder(), 'copy.db');
    await db.restoreTo(from - 1n, copy);
    const before = rowsOf(copy);
    const wrong = rowsOf(path);
    const sequence = await undo(db, from);
    expect(rowsOf(path)).toEqual(before);
    if (sequence !== undefined && random.chance(0.5)) {
      await db.undo({ from: sequence });
      expect(rowsOf(path)).toEqual(wrong);
    }
  }
});

it.each(SEEDS)('replicated, with writers on both nodes, it is so too (UNDO_SEED=%i)', async (seed) => {
  const random = new SimRandom(seed);
  const schema = generateSchema(random, FEATURES);
  const pair = await pairOn('memory', pragmas(schema));
  const { a, b, paths } = pair;
  await a.exec(schemaSql(schema).join(';\n'));
  await settled(pair);
  const first = a.position().received;
  for (let round = 0; round < 3; round++) {
    const writes: Promise<void>[] = [];
    for (let n = random.between(2, 12); n > 0; n--)
      writes.push(attempt(random.pick([a, b]).exec(script(random, schema))));
    await Promise.all(writes);
    await settled(pair);
    const last = a.position().received;
    const sequences = (await sequencesOf(a)).filter((sequence) => sequence > first && sequence <= last);
    if (sequences.length === 0) continue;
    const from = random.pick(sequences);
    const copy = join(temporaryFolder(), 'copy.db');
    const earlier = (await sequencesOf(a)).filter((sequence) => sequence < from).at(-1) as bigint;
    await a.restoreTo(earlier, copy);
    await undo(random.pick([a, b]), from);
    await settled(pair);
    expect(rowsOf(paths[0])).toEqual(rowsOf(copy));
  }
});

async function sequencesOf(db: HADatabase): Promise<bigint[]> {
  const list: bigint[] = [];
  for await (const { sequence } of db.history()) list.push(sequence);
  return list;
}
