import type { Type } from '@nestjs/common';
import { nearest } from '../config/nearest.js';
import type { Problems } from '../config/problems.js';
import { describe, integer, oneOf, refusal, text } from '../config/value-types.js';
import type { ValueType } from '../config/value-types.js';
import type { HACDCRegistration, HACDCSettings, HACDCTarget } from './target.js';

/** Targets as the module options name them. */
export type GivenTargets = readonly (Type<HACDCTarget> | HACDCRegistration)[];

/** A target of the options: what makes or is it, and its settings, of which the stream may give a default. */
export interface ReadTarget {
  readonly source: Type<HACDCTarget> | HACDCTarget;
  readonly settings: Omit<Required<HACDCSettings>, 'topicPrefix'> & Pick<HACDCSettings, 'topicPrefix'>;
}

type Settings = Required<HACDCSettings>;

const DEFAULTS = {
  snapshot: 'initial',
  includeSchemaChanges: true,
  maxBatchSize: 1_000,
  shutdownTimeout: 5_000,
} as const;

const flag: ValueType<boolean> = {
  allowed: 'true, false',
  parse(value) {
    if (typeof value === 'boolean') return value;
    throw new Error(`${describe(value)} is not a boolean`);
  },
};

const SETTINGS: { readonly [K in keyof Settings]: ValueType<Settings[K]> } = {
  name: text('a text of at least one character'),
  snapshot: oneOf('initial', 'never'),
  topicPrefix: text('a text of at least one character'),
  includeSchemaChanges: flag,
  maxBatchSize: integer(1, 1_000_000),
  // Node's timers fire at once beyond that: https://nodejs.org/api/timers.html#settimeout
  shutdownTimeout: integer(0, 2_147_483_647),
};

const ALLOWED =
  'a class with deliver(events, context), or { target, name, snapshot, … } with a class or an object as target';

/** Reads the option `cdc`, of which without types anything may be given; notes everything that is wrong with it. */
export function readTargets(given: unknown, problems: Problems): ReadTarget[] {
  if (given === undefined) return [];
  if (!Array.isArray(given)) {
    problems.add(`option cdc: ${describe(given)} is not a list; allowed: a list of targets, each ${ALLOWED}`);
    return [];
  }
  const read = given.flatMap((each: unknown, index) => readTarget(each, `option cdc[${index}]`, problems) ?? []);
  const names = new Set<string>();
  for (const { settings } of read) {
    if (names.has(settings.name)) {
      problems.add(
        `option cdc: two targets are named '${settings.name}', and a name is where a position is stored; give each its own: { target: ${settings.name}, name: '…' }`,
      );
    }
    names.add(settings.name);
  }
  return read;
}

function readTarget(given: unknown, where: string, problems: Problems): ReadTarget | undefined {
  if (isClass(given)) return readTarget({ target: given }, where, problems);
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    problems.add(`${where}: ${describe(given)} is no target; allowed: ${ALLOWED}`);
    return undefined;
  }
  if (!('target' in given) && isTarget(given)) {
    problems.add(`${where}: an object that is a target itself has to stand in one with settings: { target: … }`);
    return undefined;
  }
  const { target, ...settings } = given as Record<string, unknown>;
  const found = readSettings(settings, where, problems);
  if (!isClass(target) && !isTarget(target)) {
    problems.add(
      `${where}.target: ${describe(target)}${typeof target === 'object' && target !== null ? ' without a method deliver(events, context)' : ''} is no target; allowed: a class, or an object with deliver(events, context)`,
    );
    return undefined;
  }
  const name = isClass(target) ? target.name : ((target.constructor as Function | undefined)?.name ?? '');
  if (found.name === undefined && settings.name !== undefined) return undefined;
  if (found.name === undefined && name === '') {
    problems.add(`${where}: a target whose class has no name needs one: { target, name: '…' }`);
    return undefined;
  }
  return { source: target, settings: { ...DEFAULTS, name, ...found } };
}

/** What is given and right; undefined is as if it was left out. */
function readSettings(given: Record<string, unknown>, where: string, problems: Problems): Partial<Settings> {
  const known = new Map<string, ValueType<unknown>>(Object.entries(SETTINGS));
  const found: [string, unknown][] = [];
  for (const [key, value] of Object.entries(given)) {
    const type = known.get(key);
    if (type === undefined) {
      problems.add(`${where}.${key} is unknown; did you mean ${nearest(key, ['target', ...known.keys()])}?`);
    } else if (value !== undefined) {
      try {
        found.push([key, type.parse(value)]);
      } catch (error) {
        problems.add(`${where}.${key}: ${refusal(type, error as Error, false)}`);
      }
    }
  }
  return Object.fromEntries(found);
}

function isClass(value: unknown): value is Type<HACDCTarget> {
  return typeof value === 'function';
}

function isTarget(value: unknown): value is HACDCTarget {
  return typeof (value as Partial<HACDCTarget> | null | undefined)?.deliver === 'function';
}
