import { Problems } from './problems.js';
import type { OptionName } from './resolved.js';
import { OPTION_SPECS, type AnyOptionSpec } from './spec.js';

/** The environment to read options from: `process.env` or a copy of it. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Options as text, before they are parsed. */
export type RawOptions = Partial<Record<OptionName, string>>;

/** The variables of one option that are set. Empty counts as unset: compose files cannot unset a variable otherwise. */
export function variablesSet(spec: AnyOptionSpec, env: Environment): string[] {
  return spec.env.filter((variable) => (env[variable] ?? '') !== '');
}

/** Reads the options from the environment and notes contradictions between aliases in `problems`. */
export function collectEnvironment(env: Environment, problems: Problems): RawOptions {
  const raw: RawOptions = {};
  for (const spec of OPTION_SPECS) {
    const variables = variablesSet(spec, env);
    if (new Set(variables.map((variable) => env[variable])).size > 1) {
      problems.add(`${spec.name}: the environment sets ${variables.join(' and ')} to different values; keep one`);
    } else if (variables[0] !== undefined) {
      raw[spec.name] = env[variables[0]];
    }
  }
  return raw;
}

/**
 * Reads the options from the environment, as text.
 *
 * @throws HAError `HA_OPTIONS_INVALID` if two aliases of one option have different values
 */
export function readEnvironment(env: Environment): RawOptions {
  const problems = new Problems();
  const raw = collectEnvironment(env, problems);
  problems.throwIfAny();
  return raw;
}
