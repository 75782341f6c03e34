import { formatDuration, parseDuration } from './duration.js';

/** How one kind of value is read, from text (DSN, environment) or from the options object. */
export interface ValueType<T> {
  /** What is allowed, as the end of the sentence "allowed: …". */
  readonly allowed: string;
  /** Throws an Error that says what is wrong with the value. */
  parse(value: unknown): T;
}

/** Names a refused value in a message. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return typeof value === 'function' ? 'a function' : String(value);
}

/** An Error for a value that is not allowed. */
export function refuse(value: unknown, why = 'is not allowed'): never {
  throw new Error(`${describe(value)} ${why}`);
}

/** What is wrong with a value, and what is allowed; a secret is not repeated. */
export function refusal(type: ValueType<unknown>, error: Error, secret: boolean): string {
  return `${secret ? 'the value is not allowed' : error.message}; allowed: ${type.allowed}`;
}

// NUL ends a C string, and no other control character has a meaning in a path, name or password here.
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

/** A text of at least one character, without control characters. */
export function readText(value: unknown): string {
  if (typeof value !== 'string') return refuse(value, 'is not a text');
  if (value === '') return refuse(value, 'is empty; leave the option out instead');
  return CONTROL.test(value) ? refuse(value, 'contains a control character') : value;
}

/** A text that must pass `check`. */
export function text(allowed: string, check: (value: string) => boolean = () => true): ValueType<string> {
  return {
    allowed,
    parse(value) {
      const read = readText(value);
      return check(read) ? read : refuse(value);
    },
  };
}

const TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

/** A boolean, or one of the texts that Go's `strconv.ParseBool` knows. */
export const boolean: ValueType<boolean> = {
  allowed: '1, t, T, TRUE, true, True, 0, f, F, FALSE, false, False',
  parse(value) {
    if (typeof value === 'boolean') return value;
    if (typeof value === 'string' && TRUE.has(value)) return true;
    return typeof value === 'string' && FALSE.has(value) ? false : refuse(value, 'is not a boolean');
  },
};

/** Reads a safe integer from a number or decimal text. */
function readInteger(value: unknown): number {
  const number = typeof value === 'string' && /^[-+]?[0-9]+$/.test(value) ? Number(value) : value;
  return Number.isSafeInteger(number) ? (number as number) : refuse(value, 'is not an integer');
}

/** An integer from `min` to `max`. */
export function integer(min: number, max: number): ValueType<number> {
  return {
    allowed: `an integer from ${min} to ${max}`,
    parse(value) {
      const number = readInteger(value);
      return number < min || number > max ? refuse(value, 'is out of range') : number;
    },
  };
}

/** One of some texts, exactly as written. */
export function oneOf<T extends string>(...values: readonly T[]): ValueType<T> {
  return {
    allowed: values.join(', '),
    parse: (value) => values.find((candidate) => candidate === value) ?? refuse(value),
  };
}

/** Node's timers fire at once beyond this many milliseconds: https://nodejs.org/api/timers.html#settimeout */
const LONGEST_TIMER = 2_147_483_647;

function readDuration(value: unknown): number {
  if (typeof value === 'string') return parseDuration(value);
  if (typeof value !== 'number' || !Number.isFinite(value)) return refuse(value, 'is not a duration');
  return value;
}

/** A duration that a timer of ours waits for: more than nothing, and not beyond what timers can. Milliseconds. */
export const interval: ValueType<number> = {
  allowed: `a duration such as 500ms, 15s or 1h30m, or a number of milliseconds, from 1ms to ${formatDuration(LONGEST_TIMER)}`,
  parse(value) {
    const milliseconds = readDuration(value);
    return milliseconds < 1 || milliseconds > LONGEST_TIMER ? refuse(value, 'is out of range') : milliseconds;
  },
};

/** A duration handed on to the NATS server: 0, or at least `min` milliseconds. */
export function serverDuration(min: number, zero: string): ValueType<number> {
  return {
    allowed: `a duration of at least ${formatDuration(min)} such as 500ms or 24h, or 0 ${zero}`,
    parse(value) {
      const milliseconds = readDuration(value);
      return milliseconds !== 0 && milliseconds < min ? refuse(value, 'is out of range') : milliseconds;
    },
  };
}

// As in nats-server's configuration: a bare letter counts in thousands, everything longer in 1024.
const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 1e3,
  KB: 1024,
  KIB: 1024,
  M: 1e6,
  MB: 1024 ** 2,
  MIB: 1024 ** 2,
  G: 1e9,
  GB: 1024 ** 3,
  GIB: 1024 ** 3,
  T: 1e12,
  TB: 1024 ** 4,
  TIB: 1024 ** 4,
};

/** A number of bytes, or a text such as `512KB` or `8MB`. */
export function bytes(min: number, max: number): ValueType<number> {
  return {
    allowed: `a number of bytes from ${min} to ${max}, or a text such as 512KB or 8MB`,
    parse(value) {
      const size = typeof value === 'number' ? String(value) : value;
      if (typeof size !== 'string') return refuse(value, 'is not a size');
      const [, digits, unit = ''] = /^([0-9]+) ?([kmgt]?(?:i?b)?)$/i.exec(size) ?? [];
      const factor = SIZE_UNITS[unit.toUpperCase()];
      if (digits === undefined || factor === undefined) return refuse(value, 'is not a size');
      const total = Number(digits) * factor;
      return total < min || total > max ? refuse(value, 'is out of range') : total;
    },
  };
}
