import { Problems } from './problems.js';
import type { OptionName } from './resolved.js';
import { OPTION_SPECS, type AnyOptionSpec } from './spec.js';
import { refusal } from './value-types.js';

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

/** One variable that is wrong. */
export interface EnvironmentProblem {
  readonly variable: string;
  /** What is wrong, and what is allowed. */
  readonly message: string;
}

/** Everything that is wrong with the variables of the options, each looked at by itself. */
export function checkEnvironment(env: Environment): EnvironmentProblem[] {
  return OPTION_SPECS.flatMap((spec) => {
    const variables = variablesSet(spec, env);
    const wrong = variables.flatMap((variable) => {
      try {
        spec.type.parse(env[variable]);
        return [];
      } catch (error) {
        return [{ variable, message: refusal(spec.type, error as Error, spec.secret === true) }];
      }
    });
    const differs = new Set(variables.map((variable) => env[variable])).size > 1;
    const variable = variables[0] ?? '';
    const message = `it and ${variables.slice(1).join(', ')} have different values; keep one`;
    return differs ? [...wrong, { variable, message }] : wrong;
  });
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
