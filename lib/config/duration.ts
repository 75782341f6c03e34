// Durations as Go writes them, because go-ha's options, its HISTORY and UNDO commands and ours share the notation.
// The arithmetic follows https://pkg.go.dev/time#ParseDuration step by step, its rounding of fractions included.

const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n, // U+00B5, micro sign
  μs: 1_000n, // U+03BC, Greek letter mu
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const LIMIT = 1n << 63n;
const NANOS_PER_MS = 1_000_000n;

function invalid(text: string, why: string): Error {
  return new Error(`${JSON.stringify(text)} is not a duration (${why})`);
}

/** Go keeps the digits of a fraction only while they fit in an int64; the rest is cut off. */
function fraction(digits: string, unit: bigint): bigint {
  let value = 0n;
  let scale = 1;
  for (const digit of digits) {
    const next = value * 10n + BigInt(digit);
    if (value > (LIMIT - 1n) / 10n || next > LIMIT) break;
    value = next;
    scale *= 10;
  }
  return BigInt(Math.trunc(Number(value) * (Number(unit) / scale)));
}

/** Nanoseconds of one `number unit` pair. */
function term(text: string, whole: string, decimals: string, unitName: string): bigint {
  const unit = UNITS[unitName];
  if (unit === undefined) throw invalid(text, `unknown unit ${JSON.stringify(unitName)}`);
  const value = BigInt(whole === '' ? '0' : whole) * unit + fraction(decimals, unit);
  if (value > LIMIT) throw invalid(text, 'it is too long');
  return value;
}

/**
 * Parses a duration exactly as Go's `time.ParseDuration`: a sign, then numbers with a unit each (`300ms`, `-1.5h`,
 * `1h30m`), or `0`.
 *
 * @returns nanoseconds
 * @throws Error if the text is not a duration, or one beyond an int64 of nanoseconds
 */
export function parseDurationNanos(text: string): bigint {
  const negative = text.startsWith('-');
  const body = /^[-+]/.test(text) ? text.slice(1) : text;
  if (body === '0') return 0n;
  if (body === '') throw invalid(text, 'it is empty');
  let total = 0n;
  const pair = /([0-9]*)(?:\.([0-9]*))?([^0-9.]*)/y;
  while (pair.lastIndex < body.length) {
    const [, whole = '', decimals = '', unit = ''] = pair.exec(body) ?? [];
    if (whole === '' && decimals === '') throw invalid(text, 'a number is missing');
    if (unit === '') throw invalid(text, 'a unit is missing: ns, us, ms, s, m or h');
    total += term(text, whole, decimals, unit);
    if (total > LIMIT) throw invalid(text, 'it is too long');
  }
  if (!negative && total === LIMIT) throw invalid(text, 'it is too long');
  return negative ? -total : total;
}

/**
 * Parses a Go duration (`15s`, `1h30m`).
 *
 * @returns milliseconds, with a fraction where the text is finer
 * @throws Error if the text is not a duration
 */
export function parseDuration(text: string): number {
  const nanos = parseDurationNanos(text);
  return Number(nanos / NANOS_PER_MS) + Number(nanos % NANOS_PER_MS) / 1e6;
}

/** `value / 10^digits` without trailing zeros. */
function decimal(value: bigint, digits: number): string {
  const text = value.toString().padStart(digits + 1, '0');
  const decimals = text.slice(-digits).replace(/0+$/, '');
  return decimals === '' ? text.slice(0, -digits) : `${text.slice(0, -digits)}.${decimals}`;
}

function formatNanos(nanos: bigint): string {
  if (nanos === 0n) return '0s';
  if (nanos < 1_000n) return `${nanos}ns`;
  if (nanos < 1_000_000n) return `${decimal(nanos, 3)}µs`;
  if (nanos < 1_000_000_000n) return `${decimal(nanos, 6)}ms`;
  const minutes = nanos / 60_000_000_000n;
  const seconds = `${decimal(nanos % 60_000_000_000n, 9)}s`;
  if (minutes === 0n) return seconds;
  return minutes < 60n ? `${minutes}m${seconds}` : `${minutes / 60n}h${minutes % 60n}m${seconds}`;
}

/** Writes milliseconds as Go's `Duration.String` does: `1h30m0s`, `1.5s`, `100ms`. {@link parseDuration} reads it back. */
export function formatDuration(milliseconds: number): string {
  const whole = Math.trunc(milliseconds);
  const nanos = BigInt(whole) * NANOS_PER_MS + BigInt(Math.round((milliseconds - whole) * 1e6));
  return nanos < 0n ? `-${formatNanos(-nanos)}` : formatNanos(nanos);
}
