import { hostname } from 'node:os';
import { posix, win32 } from 'node:path';
import { DEFAULT_CONNECTION } from '../common/tokens.js';
import { contradictions, modeOf } from './cross-checks.js';
import { collectDsn, type ParsedDsn } from './dsn.js';
import { collectEnvironment, variablesSet, type Environment } from './environment.js';
import { nearest } from './nearest.js';
import { normalizeIdentifier } from './normalize.js';
import type { HAOptions } from './options.js';
import { Problems } from './problems.js';
import type { OptionName, OptionValues, ResolvedHAOptions } from './resolved.js';
import { OPTION_SPECS, SPEC_BY_NAME, type AnyOptionSpec } from './spec.js';
import { nodeName } from './stream-types.js';
import { describe, integer, refusal } from './value-types.js';
import type { ValueType } from './value-types.js';

/** The options object with the DSN inside. */
export type HAOptionsWithDsn = HAOptions & { dsn: string };

/** A value as some source gives it. */
interface Given {
  readonly value: unknown;
  /** In words: which source. */
  readonly from: string;
}

/** What the module's options object holds besides {@link HAOptions}; the module reads these itself. */
const MODULE_KEYS = new Set([
  'dsn',
  'connection',
  'isGlobal',
  'interceptors',
  'imports',
  'cdc',
  'configure',
  'retryAttempts',
  'retryDelay',
]);

/** Those of them that have a form. */
const MODULE_VALUES: Readonly<Record<string, ValueType<unknown>>> = {
  retryAttempts: integer(0, 1_000_000),
  retryDelay: integer(0, 2_147_483_647),
};

function checkKeys(options: object, problems: Problems): void {
  for (const key of Object.keys(options)) {
    if (SPEC_BY_NAME.has(key) || MODULE_KEYS.has(key)) continue;
    problems.add(`option ${key} is unknown; did you mean ${nearest(key, [...SPEC_BY_NAME.keys()])}?`);
  }
}

/** What sets an option: the options object before the DSN before the environment. */
function given(spec: AnyOptionSpec, options: HAOptions, dsn: ParsedDsn, env: Environment): Given[] {
  const [variable] = variablesSet(spec, env);
  return [
    { value: options[spec.name] as unknown, from: `option ${spec.name}` },
    { value: dsn.options[spec.name], from: `DSN parameter ${spec.name}` },
    { value: variable === undefined ? undefined : env[variable], from: `environment variable ${variable}` },
  ].filter(({ value }) => value !== undefined);
}

/**
 * Checks values that do not count because another source goes first: a mistake in them would come up on the day that source
 * is taken away.
 */
function checkOverridden(spec: AnyOptionSpec, [first, ...others]: readonly Given[], problems: Problems): void {
  for (const { value, from } of others) {
    if (String(value) === String(first?.value)) continue;
    parse(spec, { value, from: `${from} (overridden by ${first?.from})` }, problems);
  }
}

/** Checks what only the module reads. */
function checkModuleOptions(options: object, problems: Problems): void {
  for (const [name, type] of Object.entries(MODULE_VALUES)) {
    const value = (options as Record<string, unknown>)[name];
    if (value !== undefined) readValue(type, { value, from: `option ${name}` }, false, problems);
  }
}

function parse(spec: AnyOptionSpec, source: Given, problems: Problems): unknown {
  return readValue(spec.type, source, spec.secret === true, problems);
}

function readValue(type: ValueType<unknown>, { value, from }: Given, secret: boolean, problems: Problems): unknown {
  try {
    return type.parse(value);
  } catch (error) {
    problems.add(`${from}: ${refusal(type, error as Error, secret)}`);
    return undefined;
  }
}

/** Reads the values of all options that are set or have a fixed default. */
function readValues(sources: ReadonlyMap<OptionName, Given>, problems: Problems): Partial<OptionValues> {
  const values: Partial<Record<OptionName, unknown>> = {};
  for (const spec of OPTION_SPECS) {
    const source = sources.get(spec.name);
    if (source !== undefined) values[spec.name] = parse(spec, source, problems);
    else values[spec.name] = spec.default === undefined ? undefined : spec.type.parse(spec.default);
  }
  return values as Partial<OptionValues>;
}

function baseName(filename: string): string {
  return /^[A-Za-z]:[\\/]|^\\\\/.test(filename) ? win32.basename(filename) : posix.basename(filename);
}

function defaultReplicationID({ filename }: ParsedDsn, problems: Problems): string {
  if (filename === ':memory:' || filename === '') return '';
  const name = baseName(filename);
  if (normalizeIdentifier(name) === '') {
    problems.add(`the file name ${describe(name)} cannot be a replication ID; set replicationID`);
  }
  return name;
}

/** The host name, by the same rules as a name the user gives. */
function defaultName(problems: Problems): string | undefined {
  return problems.attempt('the host name cannot be the node name, set option name', () => nodeName.parse(hostname()));
}

/** Defaults that depend on other options, on the file or on the machine. */
function computed(values: Partial<OptionValues>, dsn: ParsedDsn, problems: Problems): Partial<OptionValues> {
  const overwrite = values.asyncPublisher === true || values.disableSubscriber === true;
  return {
    generatedIds: values.generatedIds ?? (overwrite ? 'overwrite' : 'ordered'),
    name: values.name ?? defaultName(problems),
    replicationID: values.replicationID ?? defaultReplicationID(dsn, problems),
    replicationURL: values.replicationURL ?? [],
    streamMaxAge: values.streamMaxAge === 0 ? undefined : values.streamMaxAge,
  };
}

function joinOptions(first: string | HAOptionsWithDsn, second: HAOptions): { dsn: unknown; options: HAOptions } {
  if (typeof first === 'string') return { dsn: first, options: second };
  return { dsn: first.dsn, options: { ...first, ...second } };
}

/** Names the database, where an application has several. */
export function titleOf(options: object): string {
  const connection = 'connection' in options ? options.connection : undefined;
  return connection === undefined || connection === DEFAULT_CONNECTION
    ? 'The options'
    : `The options of database ${describe(connection)}`;
}

function readDsn(dsn: unknown, problems: Problems): ParsedDsn {
  if (typeof dsn === 'string') return collectDsn(dsn, problems);
  const what = dsn === undefined ? 'it is missing' : `${describe(dsn)} is not allowed`;
  problems.add(`option dsn: ${what}; allowed: file:my.db?option=value, a path, or :memory:`);
  return { filename: '', memory: false, mustExist: false, options: {}, pragmas: [] };
}

/**
 * Joins options object, DSN, environment and defaults (in this order of precedence) and checks them all.
 *
 * @param dsnOrOptions the DSN, or an options object with it
 * @param options the options object, if the first argument is a DSN
 * @param env the environment, `process.env` by default
 * @throws HAError `HA_OPTIONS_INVALID`: one error for everything that is wrong, listed in `details.problems`
 */
export function resolveOptions(
  dsnOrOptions: string | HAOptionsWithDsn,
  options: HAOptions = {},
  env: Environment = process.env,
): ResolvedHAOptions {
  const problems = new Problems();
  const joined = joinOptions(dsnOrOptions, options);
  checkKeys(joined.options, problems);
  checkModuleOptions(joined.options, problems);
  const dsn = readDsn(joined.dsn, problems);
  collectEnvironment(env, problems);
  const sources = new Map<OptionName, Given>();
  for (const spec of OPTION_SPECS) {
    const all = given(spec, joined.options, dsn, env);
    if (all[0] !== undefined) sources.set(spec.name, all[0]);
    checkOverridden(spec, all, problems);
  }
  const values = readValues(sources, problems);
  const set = new Map([...sources].map(([name, source]) => [name, source.from]));
  const mode = modeOf(set, (problem) => problems.add(problem));
  for (const problem of contradictions(values, set)) problems.add(problem);
  const complete = { ...values, ...computed(values, dsn, problems) } as OptionValues;
  problems.throwIfAny(titleOf(joined.options));
  const { options: _options, ...file } = dsn;
  return Object.freeze({ ...complete, ...file, mode });
}
