import { registerAs } from '@nestjs/config';
import type { ConfigFactory, ConfigFactoryKeyHost } from '@nestjs/config';
import { collectDsn } from './config/dsn.js';
import { checkEnvironment, collectEnvironment } from './config/environment.js';
import type { Environment } from './config/environment.js';
import type { HAOptions } from './config/options.js';
import { Problems } from './config/problems.js';
import { SPEC_BY_NAME } from './config/spec.js';
import { refusal } from './config/value-types.js';
import type { HAFactoryOptions } from './ha-module-options.js';

// The entry point `nestjs-ha/config`: the options as part of @nestjs/config.

/** Where {@link createHAConfig} finds the options, and where the configuration has them. */
export interface HAConfigSettings {
  /** Namespace of the configuration: `config.get('orders.dsn')`. Default `ha`. */
  key?: string;
  /** What the variables start with instead of `HA_`: `ORDERS_HA_` reads `ORDERS_HA_DSN`, `ORDERS_HA_NAME` and so on. */
  prefix?: string;
}

/** A namespace of the configuration that `HAModule.forRootAsync(config.asProvider())` takes. */
export type HAConfig = ConfigFactory<HAFactoryOptions> & ConfigFactoryKeyHost<HAFactoryOptions>;

const PREFIX = 'HA_';

/**
 * Makes a namespace of @nestjs/config from environment variables, for applications with several databases.
 *
 * Numbers and booleans are converted, everything else stays text; what is wrong is left as it is, so that the module
 * reports it together with all other mistakes.
 *
 * @example
 * const ordersConfig = createHAConfig({ key: 'orders', prefix: 'ORDERS_HA_' });
 * HAModule.forRootAsync({ connection: 'orders', ...ordersConfig.asProvider() })
 */
export function createHAConfig({ key = 'ha', prefix = PREFIX }: HAConfigSettings = {}): HAConfig {
  return registerAs(key, (): HAFactoryOptions => {
    const env = unprefixed(process.env, prefix);
    const dsn = env['HA_DSN'] ?? '';
    const options = readOptions(env, prefix);
    // Without a DSN the key is left out, and the module says what is missing.
    if (dsn === '') return options as HAFactoryOptions;
    // As everywhere, the DSN goes before the variables.
    const inDsn = collectDsn(dsn, new Problems()).options;
    return { dsn, ...Object.fromEntries(Object.entries(options).filter(([name]) => !(name in inDsn))) };
  });
}

/**
 * The options of the database from the environment: `HA_DSN`, and the variable of every option, as the namespace `ha`.
 *
 * @example
 * imports: [ConfigModule.forRoot({ validationSchema: haSchema }), HAModule.forRootAsync(haConfig.asProvider())]
 */
export const haConfig: HAConfig = createHAConfig();

/** One mistake, as https://standardschema.dev has it. */
interface SchemaIssue {
  readonly message: string;
  readonly path: readonly string[];
}

/** What {@link haSchema} is: a Standard Schema for the environment, https://standardschema.dev. */
export interface HAEnvironmentSchema {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: 'nestjs-ha';
    readonly validate: (
      value: unknown,
    ) =>
      | { readonly value: Record<string, unknown>; readonly issues?: undefined }
      | { readonly issues: readonly SchemaIssue[] };
    readonly types?: { readonly input: Record<string, unknown>; readonly output: Record<string, unknown> };
  };
}

/**
 * Checks the variables of all options, and `HA_DSN` where it is set; other variables pass as they are. For
 * `ConfigModule.forRoot({ validationSchema: haSchema })`.
 */
export const haSchema: HAEnvironmentSchema = {
  '~standard': {
    version: 1,
    vendor: 'nestjs-ha',
    validate(value) {
      if (typeof value !== 'object' || value === null) {
        return { issues: [{ message: 'the environment is an object of variables', path: [] }] };
      }
      const variables = value as Record<string, unknown>;
      const issues = issuesOf(variables);
      return issues.length === 0 ? { value: variables } : { issues };
    },
  },
};

function issuesOf(variables: Record<string, unknown>): SchemaIssue[] {
  const env = Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, textOf(value)]));
  return [
    ...dsnProblems(env['HA_DSN'] ?? '').map((message) => ({ message, path: ['HA_DSN'] })),
    ...checkEnvironment(env).map(({ variable, message }) => ({ message, path: [variable] })),
  ];
}

/** Another schema may have made numbers and booleans of variables already. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : (value as string | undefined);
}

function dsnProblems(dsn: string): readonly string[] {
  const problems = new Problems();
  const { options } = dsn === '' ? { options: {} } : collectDsn(dsn, problems);
  for (const [name, text] of Object.entries(options)) {
    const spec = SPEC_BY_NAME.get(name);
    try {
      spec?.type.parse(text);
    } catch (error) {
      if (spec !== undefined) problems.add(`${name}: ${refusal(spec.type, error as Error, spec.secret === true)}`);
    }
  }
  return problems.list;
}

/** The variables behind a prefix, under the names that the options know. */
function unprefixed(env: Environment, prefix: string): Environment {
  const own = Object.entries(env).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(own.map(([name, value]) => [PREFIX + name.slice(prefix.length), value]));
}

function readOptions(env: Environment, prefix: string): HAOptions {
  const problems = new Problems();
  const raw = Object.entries(collectEnvironment(env, problems));
  // Aliases that differ under the usual names the module reports itself, together with all other mistakes.
  if (prefix !== PREFIX) {
    const named = new Problems();
    for (const problem of problems.list) named.add(problem.replaceAll(PREFIX, prefix));
    named.throwIfAny();
  }
  return Object.fromEntries(raw.map(([name, text]) => [name, converted(name, text)]));
}

/** A number or boolean where the option is one; durations and sizes become milliseconds and bytes. */
function converted(name: string, text: string): unknown {
  try {
    const value: unknown = SPEC_BY_NAME.get(name)?.type.parse(text);
    return typeof value === 'number' || typeof value === 'boolean' ? value : text;
  } catch {
    return text;
  }
}
