/**
 * JSON that reads back as exactly this value; undefined where there is none, for it was never plain JSON: a parser of the
 * application's own made dates, maps or classes of it.
 */
export function exactJson(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'number':
      return numberText(value);
    case 'object':
      return value === null ? 'null' : Array.isArray(value) ? arrayText(value) : objectText(value);
    default:
      return undefined;
  }
}

/** -0 and infinity come from `-0` and `1e999`, which JSON.stringify would turn into 0 and null. */
function numberText(value: number): string | undefined {
  if (Number.isNaN(value)) return undefined;
  if (Object.is(value, -0)) return '-0';
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? '1e999' : '-1e999';
}

function arrayText(values: readonly unknown[]): string | undefined {
  const texts = values.map(exactJson);
  return texts.includes(undefined) ? undefined : `[${texts.join(',')}]`;
}

function objectText(value: object): string | undefined {
  if (!isPlain(value)) return undefined;
  const members: string[] = [];
  for (const [key, member] of Object.entries(value)) {
    const text = exactJson(member);
    if (text === undefined) return undefined;
    members.push(`${JSON.stringify(key)}:${text}`);
  }
  return `{${members.join(',')}}`;
}

/**
 * A form (application/x-www-form-urlencoded) that the parser which made this value reads back as the same: undefined where
 * there is none.
 *
 * @param nested Whether the parser knows `a[b]=` and `a[0]=`: that of Nest with Express does, that with Fastify does not.
 */
export function exactForm(value: unknown, nested: boolean): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !isPlain(value)) return undefined;
  const pairs: string[] = [];
  for (const [key, member] of Object.entries(value)) {
    if (!addPairs(pairs, encodeURIComponent(key), member, nested)) return undefined;
  }
  return pairs.join('&');
}

function addPairs(pairs: string[], name: string, value: unknown, nested: boolean): boolean {
  if (typeof value === 'string') {
    pairs.push(`${name}=${encodeURIComponent(value)}`);
    return true;
  }
  if (Array.isArray(value)) {
    if (value.length === 0) return false;
    // A name that is repeated is a list for every parser, but not where it comes once.
    const isRepeated = value.length > 1 && value.every((item) => typeof item === 'string');
    if (!isRepeated && !nested) return false;
    return value.every((item, index) => addPairs(pairs, isRepeated ? name : `${name}[${index}]`, item, nested));
  }
  if (!nested || typeof value !== 'object' || value === null || !isPlain(value)) return false;
  const members = Object.entries(value);
  return (
    members.length > 0 &&
    members.every(([key, member]) => addPairs(pairs, `${name}[${encodeURIComponent(key)}]`, member, nested))
  );
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}
