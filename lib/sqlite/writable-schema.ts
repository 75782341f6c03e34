import type { Connection } from './connection.js';

/** Lets work write to the schema tables: https://www.sqlite.org/pragma.html#pragma_writable_schema */
export function withWritableSchema(db: Connection, work: () => void): void {
  db.unsafeMode(true);
  try {
    db.exec('PRAGMA writable_schema = ON');
    work();
  } finally {
    db.exec('PRAGMA writable_schema = OFF');
    db.unsafeMode(false);
  }
}
