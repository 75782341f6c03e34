import type BetterSqlite3 from 'better-sqlite3';

/** A connection of better-sqlite3. The rest of the library names the driver by these two types only. */
export type Connection = BetterSqlite3.Database;

/** A prepared statement of better-sqlite3, with untyped rows. */
export type Statement = BetterSqlite3.Statement<unknown[], unknown>;

/** What a connection is for. */
export type ConnectionRole = 'writer' | 'applier' | 'reader';

/** Called on every connection when it is opened: register functions, collations or extensions here. */
export type ConfigureConnection = (connection: Connection, role: ConnectionRole) => void;
