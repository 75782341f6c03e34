/** How results are printed. */
export type Format = 'table' | 'json' | 'csv';

/** Rows of one statement, values as SQLite has them. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

/** The text of a result, with its line end. */
export function formatTable(table: Table, format: Format): string {
  if (format === 'json') return json(table);
  return format === 'csv' ? csv(table) : boxed(table);
}

/** Integers keep their digits, also beyond 2^53; a BLOB is base64. */
function json({ columns, rows }: Table): string {
  const lines = rows.map(
    (row) => `{${columns.map((name, index) => `${JSON.stringify(name)}:${jsonValue(row[index])}`).join(',')}}`,
  );
  return `[${lines.join(',\n')}]\n`;
}

function jsonValue(value: unknown): string {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('base64'));
  // Infinity has no number in JSON.
  if (typeof value === 'number' && !Number.isFinite(value)) return JSON.stringify(String(value));
  return JSON.stringify(value ?? null);
}

/** RFC 4180; NULL is empty, an empty text is quoted, a BLOB is hex. */
function csv({ columns, rows }: Table): string {
  const lines = [columns, ...rows].map((row) => row.map(csvValue).join(','));
  return lines.map((line) => `${line}\r\n`).join('');
}

function csvValue(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  const text = scalar(value);
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function boxed({ columns, rows }: Table): string {
  const heads = columns.map(printable);
  const cells = rows.map((row) => row.map(cell));
  const widths = heads.map((head, index) =>
    cells.reduce((widest, row) => Math.max(widest, width(row[index] ?? '')), width(head)),
  );
  const numeric = heads.map((_head, index) => rows.length > 0 && rows.every((row) => isNumberOrNull(row[index])));
  const line = (texts: readonly string[], isHead: boolean): string =>
    `│ ${texts.map((text, index) => pad(text, widths[index] ?? 0, numeric[index] === true && !isHead)).join(' │ ')} │`;
  const rule = (left: string, middle: string, right: string): string =>
    left + widths.map((count) => '─'.repeat(count + 2)).join(middle) + right;
  return [
    rule('┌', '┬', '┐'),
    line(heads, true),
    rule('├', '┼', '┤'),
    ...cells.map((row) => line(row, false)),
    rule('└', '┴', '┘'),
    `${rows.length} ${rows.length === 1 ? 'row' : 'rows'}`,
    '',
  ].join('\n');
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString('hex')}'`;
  if (typeof value === 'number' && Number.isInteger(value))
    return value.toFixed(1).length > 24 ? String(value) : value.toFixed(1);
  return printable(scalar(value));
}

/** A terminal must not be steered by what is stored. */
const CONTROL = /\p{Cc}/gu;

function printable(text: string): string {
  return text.replaceAll(CONTROL, (character) => {
    const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };
    return named[character] ?? `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

function scalar(value: unknown): string {
  return typeof value === 'string' ? value : (value as number | bigint).toString();
}

function isNumberOrNull(value: unknown): boolean {
  return value === null || typeof value === 'number' || typeof value === 'bigint';
}

/** What is seen as one character. */
const SEGMENTS = new Intl.Segmenter();

function width(text: string): number {
  let count = 0;
  for (const segment of SEGMENTS.segment(text)) count += segment.segment === '' ? 0 : 1;
  return count;
}

function pad(text: string, count: number, right: boolean): string {
  const space = ' '.repeat(count - width(text));
  return right ? space + text : text + space;
}
