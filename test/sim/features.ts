import type { RowIdentify } from '../../lib/sqlite/schema.js';

/** Kinds of tables, by what identifies their rows. */
export type TableKind = 'integer' | 'autoincrement' | 'composite' | 'nullableKey' | 'withoutRowid' | 'keyless';

/** What the histories of a class may contain. */
export interface Features {
  readonly kinds: readonly TableKind[];
  /** Number of tables; from 1 to 3 where it is left out. */
  readonly tables?: number;
  readonly unique?: boolean;
  readonly nocase?: boolean;
  readonly foreignKeys?: boolean;
  readonly triggers?: boolean;
  readonly recursiveTriggers: 'on' | 'off' | 'mixed';
  readonly sequenceEdits?: boolean;
  readonly ddl?: boolean;
  readonly vacuum?: boolean;
  readonly crashes?: boolean;
  /** Nodes are stopped and started all the time, on a machine so slow that every batch is cut. */
  readonly restarts?: boolean;
  /** Lost acknowledgements, dropped and refused messages, cut connections. */
  readonly network?: boolean;
  /** Messages that are stored again behind the duplicate window. */
  readonly duplicates?: boolean;
  readonly serializable?: boolean;
  readonly chunks?: boolean;
  /** Many transactions at once, most of them ordered, on streams that take atomic batches. */
  readonly batches?: boolean;
  /** Which row identities there are; `pk` alone where it is left out. */
  readonly rowIdentify?: readonly RowIdentify[];
  /** Some or all nodes publish asynchronously. */
  readonly async?: boolean;
  /** Nodes take parts of the past back. */
  readonly undo?: boolean;
  /** Many statements add to a number. */
  readonly increments?: boolean;
  /** Some transactions are those of sessions that have set whether foreign keys are enforced. */
  readonly sessions?: boolean;
  /** All transactions are those of sessions, and many come at once. */
  readonly company?: boolean;
  /** Interceptors of all nodes, by the name of the list. */
  readonly interceptors?: string;
}

const KEYED = ['integer', 'autoincrement', 'composite', 'withoutRowid'] as const;
const ALL = [...KEYED, 'nullableKey', 'keyless'] as const;
const HARM = { crashes: true, network: true, duplicates: true } as const;

const EVERYTHING: Features = {
  kinds: ALL,
  unique: true,
  nocase: true,
  foreignKeys: true,
  triggers: true,
  recursiveTriggers: 'mixed',
  sequenceEdits: true,
  ddl: true,
  vacuum: true,
  serializable: true,
  chunks: true,
  ...HARM,
};

/** Nodes that write the same few rows at once. */
const RACES: Features = {
  kinds: ALL,
  tables: 1,
  unique: true,
  nocase: true,
  triggers: true,
  recursiveTriggers: 'mixed',
  chunks: true,
  ...HARM,
};

const SYNC: Readonly<Record<string, Features>> = {
  all: EVERYTHING,
  rowid: { ...EVERYTHING, ddl: false, rowIdentify: ['rowid'] },
  full: { ...EVERYTHING, ddl: false, rowIdentify: ['full'] },
  identities: { ...EVERYTHING, rowIdentify: ['rowid', 'full'] },
  keyed: { kinds: KEYED, unique: true, nocase: true, recursiveTriggers: 'mixed', ...HARM },
  bag: { kinds: ['keyless', 'nullableKey'], unique: true, nocase: true, recursiveTriggers: 'mixed', ...HARM },
  bagTriggers: { kinds: ['keyless', 'integer'], unique: true, triggers: true, recursiveTriggers: 'off', ...HARM },
  fk: { kinds: ALL, tables: 3, unique: true, foreignKeys: true, recursiveTriggers: 'mixed', ...HARM },
  fkSelf: { kinds: ['integer'], tables: 1, unique: true, foreignKeys: true, recursiveTriggers: 'mixed' },
  sessions: { ...EVERYTHING, vacuum: false, sessions: true },
  company: { ...EVERYTHING, vacuum: false, company: true },
  triggers: { kinds: ALL, unique: true, triggers: true, recursiveTriggers: 'mixed', ...HARM },
  sequence: { kinds: ['autoincrement'], tables: 1, sequenceEdits: true, recursiveTriggers: 'mixed', ...HARM },
  ddl: { kinds: ALL, tables: 2, unique: true, ddl: true, recursiveTriggers: 'mixed', ...HARM },
  ddlMixed: {
    kinds: ALL,
    tables: 2,
    unique: true,
    ddl: true,
    foreignKeys: true,
    triggers: true,
    recursiveTriggers: 'mixed',
    sequenceEdits: true,
  },
  vacuum: { kinds: ALL, nocase: true, vacuum: true, recursiveTriggers: 'on', ...HARM },
  ordered: { kinds: ALL, tables: 1, unique: true, serializable: true, recursiveTriggers: 'on', ...HARM },
  chunks: { kinds: ALL, chunks: true, recursiveTriggers: 'on', ...HARM },
  batches: { kinds: ALL, tables: 2, serializable: true, batches: true, recursiveTriggers: 'on', ...HARM },
  batchChunks: {
    kinds: ALL,
    tables: 2,
    serializable: true,
    batches: true,
    chunks: true,
    recursiveTriggers: 'on',
    ...HARM,
  },
  restarts: { kinds: ALL, unique: true, chunks: true, restarts: true, recursiveTriggers: 'mixed', ...HARM },
  lastWrite: { ...RACES, interceptors: 'lastWrite' },
  firstWrite: { ...RACES, interceptors: 'firstWrite' },
  merge: { ...RACES, increments: true, interceptors: 'merge' },
  ignore: { ...EVERYTHING, interceptors: 'ignore' },
  intercepted: { ...EVERYTHING, increments: true, rowIdentify: ['pk', 'pk', 'rowid', 'full'], interceptors: 'mixed' },
  interceptedByOthers: { ...EVERYTHING, interceptors: 'others' },
  chained: { ...EVERYTHING, interceptors: 'chained' },
  calm: { kinds: ALL, unique: true, recursiveTriggers: 'mixed' },
  undo: { ...EVERYTHING, ddl: false, sequenceEdits: false, vacuum: false, undo: true },
  undoCalm: {
    kinds: ALL,
    unique: true,
    nocase: true,
    foreignKeys: true,
    triggers: true,
    recursiveTriggers: 'on',
    undo: true,
  },
  undoIdentities: {
    ...EVERYTHING,
    ddl: false,
    sequenceEdits: false,
    vacuum: false,
    undo: true,
    rowIdentify: ['rowid', 'full'],
  },
};

const ALSO_ASYNC = [
  'all',
  'keyed',
  'bag',
  'bagTriggers',
  'fk',
  'fkSelf',
  'sessions',
  'company',
  'triggers',
  'sequence',
  'ddl',
  'ddlMixed',
  'chunks',
  'restarts',
  'lastWrite',
  'firstWrite',
  'merge',
  'ignore',
  'intercepted',
  'interceptedByOthers',
  'chained',
  'calm',
  'undo',
] as const;

/** Classes of histories by name, as the command line takes them. */
export const CLASSES: Readonly<Record<string, Features>> = {
  ...SYNC,
  ...Object.fromEntries(ALSO_ASYNC.map((name) => [`async-${name}`, { ...SYNC[name], async: true } as Features])),
};
