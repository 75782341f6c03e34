import type { RowIdentify } from '../../lib/sqlite/schema.js';
import { generateDDL } from './ddl-generator.js';
import { CLASSES } from './features.js';
import type { Features } from './features.js';
import { SimRandom } from './random.js';
import { generateSchema } from './schema-generator.js';
import type { SchemaSpec } from './schema-generator.js';
import { generateIncrement, generateMany, generateStatement } from './statement-generator.js';

/** How a transaction is run. `script` is all or nothing, `callback` goes on behind statements that fail. */
export type TransactionForm = 'statement' | 'script' | 'callback';

export interface TransactionSpec {
  readonly form: TransactionForm;
  readonly statements: readonly string[];
  readonly serializable: boolean;
  readonly retry: boolean;
  /** The last so many statements are in a savepoint. */
  readonly inSavepoint: number;
  /** The savepoint is rolled back. */
  readonly savepointFails: boolean;
  /** A callback that waits between its statements. */
  readonly slow: boolean;
  /** It is that of a session. */
  readonly session?: boolean;
  /** It is that of a session which enforces foreign keys, or does not, whatever its database does. */
  readonly foreignKeys?: boolean;
  /** Callbacks of one kind are taken for the same code. */
  readonly kind: number;
}

export type SimEvent =
  | { readonly type: 'write'; readonly node: number; readonly transactions: readonly TransactionSpec[] }
  | { readonly type: 'deliver'; readonly node: number; readonly count: number }
  | { readonly type: 'fault'; readonly node: number; readonly fault: Fault; readonly count: number }
  | { readonly type: 'duplicate'; readonly pick: number }
  | { readonly type: 'forget' }
  /** A node undoes from the message on that lies so many in front of the last. */
  | {
      readonly type: 'undo';
      readonly node: number;
      readonly back: number;
      readonly scope: UndoScope;
      readonly force: boolean;
    }
  /** Messages of another database on the stream. */
  | { readonly type: 'foreign'; readonly count: number }
  /** `offline`: it finds no stream when it starts again. */
  | { readonly type: 'kill' | 'restart'; readonly node: number; readonly offline?: boolean }
  | { readonly type: 'disconnect' | 'connect' | 'check'; readonly node: number };

export type UndoScope = 'all' | 'entities' | 'transactions';

export type Fault = 'loseAcks' | 'dropNext' | 'refuseNext' | 'breakBatches';

export interface Step {
  readonly event: SimEvent;
  /** Tasks that run before the next event; Infinity: until nothing is left. */
  readonly tasks: number;
}

/** A run of the world, as data: what shrinking takes apart. */
export interface History {
  readonly seed: number;
  readonly nodes: number;
  readonly schema: SchemaSpec;
  readonly maxPayload: number;
  readonly generatedIds: 'ordered' | 'overwrite';
  readonly serializable: boolean;
  readonly replicas: number;
  /** Most messages in an atomic batch; 1 where the stream takes none. */
  readonly batchLimit: number;
  readonly rowIdentify: RowIdentify;
  /** Every node tells a target of change data capture what happens to its rows. */
  readonly cdc: boolean;
  /** Which nodes publish asynchronously. */
  readonly asyncNodes: readonly boolean[];
  /** Their outbox is a file of its own. */
  readonly outboxFile: boolean;
  /** How likely a look at the clock takes long. */
  readonly slowness: number;
  /** Name of the list of interceptors. */
  readonly interceptors: string;
  readonly steps: readonly Step[];
}

/** The history of a seed; with these row identities in place of those of its class. */
export function generateHistory(seed: number, className: string, rowIdentify?: readonly RowIdentify[]): History {
  const features = CLASSES[className];
  if (features === undefined)
    throw new RangeError(`No class ${className}; there are ${Object.keys(CLASSES).join(', ')}.`);
  const random = new SimRandom(seed);
  const schema = generateSchema(random, features);
  const nodes = random.weighted([
    [5, 2],
    [4, 3],
    [1, 4],
  ]);
  const count = random.between(5, 14);
  const batches = features.batches === true;
  const isAsync = features.async === true;
  const one = isAsync && random.chance(0.4) ? random.below(nodes) : undefined;
  return {
    seed,
    nodes,
    schema,
    maxPayload: features.chunks === true && random.chance(0.4) ? 3_000 : 1_048_576,
    generatedIds: random.chance(isAsync ? 0.8 : 0.3) ? 'overwrite' : 'ordered',
    serializable: features.serializable === true && !isAsync && random.chance(batches ? 0.7 : 0.15),
    replicas: random.chance(batches ? 0.9 : 0.5) ? 3 : 1,
    batchLimit: random.weighted([
      [3, 1_000],
      [1, 2],
      [1, 1],
    ]),
    cdc: seed % 2 === 0,
    asyncNodes: Array.from({ length: nodes }, (_value, index) => isAsync && index !== one),
    outboxFile: isAsync && random.chance(0.25),
    slowness: features.restarts === true ? 0.4 : 0.02,
    interceptors: features.interceptors ?? 'none',
    steps: Array.from({ length: count }, () => ({
      event: generateEvent(random, features, schema, nodes),
      tasks: random.weighted([
        [3, 0],
        [3, random.between(1, 6)],
        [3, random.between(5, 40)],
        [2, Number.POSITIVE_INFINITY],
      ]),
    })),
    rowIdentify: random.pick(rowIdentify ?? features.rowIdentify ?? ['pk']),
  };
}

function generateEvent(random: SimRandom, features: Features, schema: SchemaSpec, nodes: number): SimEvent {
  const node = random.below(nodes);
  const when = (on: boolean | undefined, weight: number): number => (on === true ? weight : 0);
  return random.weighted<() => SimEvent>([
    [45, () => ({ type: 'write', node, transactions: transactions(random, features, schema) })],
    [30, () => ({ type: 'deliver', node, count: random.chance(0.5) ? 1 : random.between(1, 6) })],
    [5, () => ({ type: 'check', node })],
    [
      when(features.undo, 30),
      () => ({
        type: 'undo',
        node,
        back: random.below(6),
        scope: random.pick<UndoScope>(['all', 'all', 'entities', 'transactions']),
        force: random.chance(0.3),
      }),
    ],
    [
      when(features.network, features.batches === true ? 20 : 6),
      () => ({ type: 'fault', node, fault: fault(random), count: random.between(1, 3) }),
    ],
    [when(features.network, 2), () => ({ type: 'disconnect', node })],
    [when(features.network, 3), () => ({ type: 'connect', node })],
    [6, () => ({ type: 'foreign', count: random.between(1, 3) })],
    [when(features.duplicates, 4), () => ({ type: 'duplicate', pick: random.below(20) })],
    [when(features.duplicates, 2), () => ({ type: 'forget' })],
    [when(features.crashes, 3), () => ({ type: 'kill', node, ...offline(random, features) })],
    [
      when(features.crashes, features.restarts === true ? 25 : 1),
      () => ({ type: 'restart', node, ...offline(random, features) }),
    ],
  ])();
}

function offline(random: SimRandom, features: Features): { readonly offline?: boolean } {
  return features.async === true && random.chance(0.3) ? { offline: true } : {};
}

function fault(random: SimRandom): Fault {
  return random.weighted([
    [4, 'loseAcks'],
    [2, 'dropNext'],
    [2, 'refuseNext'],
    [2, 'breakBatches'],
  ]);
}

function transactions(random: SimRandom, features: Features, schema: SchemaSpec): TransactionSpec[] {
  const count = random.weighted([
    [features.batches === true || features.company === true ? 0.5 : 5, 1],
    [2, 2],
    [2, random.between(3, 6)],
  ]);
  return Array.from({ length: count }, () => transaction(random, features, schema));
}

function transaction(random: SimRandom, features: Features, schema: SchemaSpec): TransactionSpec {
  const vacuum = features.vacuum === true && random.chance(0.05);
  const form = random.weighted<TransactionForm>([
    [features.batches === true ? 9 : 3, 'statement'],
    [features.batches === true ? 9 : 3, 'script'],
    [features.company === true ? 12 : 4, 'callback'],
  ]);
  const length = form === 'statement' ? 1 : random.between(1, random.chance(0.3) ? 6 : 2);
  const usual = Array.from({ length }, () => statement(random, features, schema)).flat();
  const statements = vacuum ? ['VACUUM'] : usual;
  return {
    form: vacuum ? 'statement' : statements.length > 1 && form === 'statement' ? 'script' : form,
    statements,
    serializable: features.serializable === true && random.chance(0.3),
    retry: random.chance(0.9),
    inSavepoint: random.chance(0.3) ? random.between(1, statements.length) : 0,
    savepointFails: random.chance(0.5),
    slow: random.chance(features.company === true ? 0.03 : 0.15),
    kind: random.below(4),
    ...inSession(random, features),
  };
}

function inSession(random: SimRandom, features: Features): Pick<TransactionSpec, 'session' | 'foreignKeys'> {
  if (features.company === true) return random.chance(0.95) ? { session: true } : {};
  return features.sessions === true && random.chance(0.5) ? { session: true, foreignKeys: random.chance(0.3) } : {};
}

function statement(random: SimRandom, features: Features, schema: SchemaSpec): string[] {
  if (features.ddl === true && random.chance(0.12)) return generateDDL(random, schema);
  const table = random.pick(schema.tables);
  if (features.increments === true && random.chance(0.6)) return [generateIncrement(random, table)];
  if (features.chunks === true && random.chance(0.15)) return [generateMany(random, table)];
  return [generateStatement(random, table, features.sequenceEdits ?? false)];
}
