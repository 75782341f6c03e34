/**
 * The name of a file for an ORM that wants one: the folder itself, which SQLite cannot open as a database. What bypassed the
 * adapter would fail at once, instead of writing what no other node gets.
 */
export const NO_FILE = '.';
