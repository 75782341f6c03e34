import type { OptionName, OptionValues } from './resolved.js';
import type { ValueType } from './value-types.js';

/** One option as the table states it. */
export interface OptionEntry<T> {
  /** DSN parameters, if they are not just the option's name. */
  readonly dsn?: readonly string[];
  /** Environment variables, the documented one first. */
  readonly env: readonly string[];
  readonly type: ValueType<NonNullable<T>>;
  /** Default as a user would write it. */
  readonly default?: string;
  /** In words: a default that depends on something. */
  readonly computed?: string;
  /** The value never appears in messages. */
  readonly secret?: boolean;
  /** Meaning, in Markdown. */
  readonly doc: string;
}

/** A table that must have every one of the named options. */
export type OptionTable<K extends OptionName> = { readonly [Name in K]-?: OptionEntry<OptionValues[Name]> };
