import type { OptionName, OptionValues } from './resolved.js';
import { CORE_TABLE } from './spec-core.js';
import { STREAM_TABLE } from './spec-stream.js';
import type { OptionEntry } from './spec-types.js';

/** Everything about one option; parsing, validation and documentation derive from it. */
export interface OptionSpec<T> extends OptionEntry<T> {
  readonly name: OptionName;
  readonly dsn: readonly string[];
  /** The default in words, for documentation; empty if there is none. */
  readonly defaultText: string;
}

/** The specification of any option. */
export type AnyOptionSpec = OptionSpec<OptionValues[OptionName]>;

function complete([name, entry]: [string, OptionEntry<OptionValues[OptionName]>]): AnyOptionSpec {
  const defaultText = entry.computed ?? (entry.default === undefined ? '' : `\`${entry.default}\``);
  return { ...entry, name: name as OptionName, dsn: entry.dsn ?? [name], defaultText };
}

/** All options, by name in alphabetical order. */
export const OPTION_SPECS: readonly AnyOptionSpec[] = Object.entries({ ...CORE_TABLE, ...STREAM_TABLE })
  .map(complete)
  .sort((a, b) => (a.name < b.name ? -1 : 1));

/** Options by name. */
export const SPEC_BY_NAME: ReadonlyMap<string, AnyOptionSpec> = new Map(OPTION_SPECS.map((spec) => [spec.name, spec]));

/** Options by DSN parameter, aliases included. */
export const SPEC_BY_PARAMETER: ReadonlyMap<string, AnyOptionSpec> = new Map(
  OPTION_SPECS.flatMap((spec) => spec.dsn.map((parameter) => [parameter, spec] as const)),
);
