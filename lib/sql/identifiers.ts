import { refuseNul } from './nul.js';

/**
 * A name as an SQL identifier, always in double quotes.
 *
 * @throws HAError `HA_INVALID_SQL` when the name holds a NUL character, which no SQL text can express.
 */
export function quoteIdentifier(name: string): string {
  refuseNul(name);
  return `"${name.replaceAll('"', '""')}"`;
}

/**
 * A text as an SQL string literal.
 *
 * @throws HAError `HA_INVALID_SQL` when the text holds a NUL character: bind it as a parameter.
 */
export function quoteString(text: string): string {
  refuseNul(text);
  return `'${text.replaceAll("'", "''")}'`;
}

/**
 * The name behind a token: without its `""`, `[]`, ` `` ` or `''`, doubled quotes made single. SQLite takes a string
 * literal as a name too. A plain word comes back as it is; SQLite compares names without regard to ASCII case.
 */
export function unquoteIdentifier(token: string): string {
  const open = token[0];
  if (open === undefined || token.length < 2) return token;
  const inner = token.slice(1, -1);
  if (open === '[') return token.endsWith(']') ? inner : token;
  if (open !== '"' && open !== "'" && open !== '`') return token;
  return token.endsWith(open) ? inner.replaceAll(open + open, open) : token;
}

/** A text with its ASCII letters in lower case, which is how SQLite compares names. */
export function foldCase(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
