import { own } from '../common/own.js';
import type { HARow, HAValue } from '../common/events.js';

/** Types of Kafka Connect that SQLite's values have. */
export type ConnectType = 'int64' | 'double' | 'string' | 'bytes';

/** A schema of Kafka Connect, as its JsonConverter writes it. */
export interface FieldSchema {
  readonly type: ConnectType | 'struct';
  readonly optional: boolean;
  readonly fields?: readonly FieldSchema[];
  readonly name?: string;
  readonly version?: number;
  readonly field?: string;
}

export function field(name: string, type: ConnectType, optional: boolean): FieldSchema {
  return { type, optional, field: name };
}

/**
 * The schema of a column. SQLite takes any value in any column, and Connect only one type: where the declared type does not
 * suit the values of this event, they decide. A field is `string` where they are of several types.
 */
export function columnField(
  name: string,
  images: readonly HARow[],
  declared: string | undefined,
  optional: boolean,
): FieldSchema {
  const found = new Set(images.flatMap((image) => typeOf(own(image, name) ?? null) ?? []));
  const wanted = declared === undefined ? undefined : affinityOf(declared);
  const [first, ...others] = found;
  if (first === undefined) return field(name, wanted ?? 'string', optional);
  if (others.length === 0) return field(name, wanted === 'double' && first === 'int64' ? wanted : first, optional);
  const isNumeric = [...found].every((type) => type === 'int64' || type === 'double');
  return field(name, isNumeric ? 'double' : 'string', optional);
}

function typeOf(value: HAValue): ConnectType | undefined {
  if (value === null) return undefined;
  if (typeof value === 'bigint') return 'int64';
  if (typeof value === 'number') return 'double';
  return typeof value === 'string' ? 'string' : 'bytes';
}

/** https://www.sqlite.org/datatype3.html#determination_of_column_affinity */
function affinityOf(declared: string): ConnectType | undefined {
  const type = declared.toUpperCase();
  if (type.includes('INT')) return 'int64';
  if (/CHAR|CLOB|TEXT/.test(type)) return 'string';
  if (type === '' || type.includes('BLOB')) return 'bytes';
  return /REAL|FLOA|DOUB/.test(type) ? 'double' : undefined;
}
