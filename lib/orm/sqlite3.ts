import type { HADatabase } from '../write/ha-database.js';
import { Database, OPEN_FLAGS } from './sqlite3/database.js';
import type { HASqlite3Options } from './sqlite3/database.js';
import { RESULT_CODES } from './sqlite3/errors.js';
import { Statement } from './sqlite3/statement.js';

export type { Database, HASqlite3Options } from './sqlite3/database.js';
export type { Sqlite3Error } from './sqlite3/errors.js';
export type { Callback, Row, Statement } from './sqlite3/statement.js';

type OpenCallback = (error: Error | null) => void;

/** A module as `sqlite3` of npm is one. */
export interface HASqlite3 extends Readonly<typeof OPEN_FLAGS>, Readonly<typeof RESULT_CODES> {
  readonly Database: new (filename: string, mode?: number | OpenCallback, callback?: OpenCallback) => Database;
  readonly Statement: typeof Statement;
  /** Gives the module itself: stacks are as they are. */
  verbose(): HASqlite3;
}

/**
 * A module in the shape of node-sqlite3 (https://github.com/TryGhost/node-sqlite3/wiki/API), for what takes one, as Sequelize's
 * `dialectModule`. Each of its databases is a session of this one: it opens no file, and what it is called is not looked at.
 *
 * @example
 * new Sequelize({ dialect: 'sqlite', storage: '.', dialectModule: haSqlite3(db, { serialize: false }) });
 */
export function haSqlite3(db: Pick<HADatabase, 'connect'>, options: HASqlite3Options = {}): HASqlite3 {
  class OwnDatabase extends Database {
    constructor(filename: string, mode?: number | OpenCallback, callback?: OpenCallback) {
      const flags = typeof mode === 'number' ? mode : OPEN_FLAGS.OPEN_READWRITE | OPEN_FLAGS.OPEN_CREATE;
      super(db, options, filename, flags, typeof mode === 'function' ? mode : callback);
    }
  }
  Object.defineProperty(OwnDatabase, 'name', { value: 'Database' });
  const module: HASqlite3 = { ...OPEN_FLAGS, ...RESULT_CODES, Database: OwnDatabase, Statement, verbose: () => module };
  return module;
}
