/** What a statement does, by its main verb. `END` is a `commit`, `REPLACE INTO` an `insert`, `VALUES` a `select`. */
export type StatementKind =
  | 'select'
  | 'insert'
  | 'update'
  | 'delete'
  | 'ddl'
  | 'pragma'
  | 'begin'
  | 'commit'
  | 'rollback'
  | 'savepoint'
  | 'release'
  | 'vacuum'
  | 'attach'
  | 'detach'
  | 'analyze'
  | 'reindex'
  | 'explain'
  | 'empty'
  | 'unknown';

/** The name of a schema object, without its quotes. */
export interface ObjectName {
  readonly schema?: string;
  readonly name: string;
}

/** The kinds of objects that a schema holds. */
export type SchemaObject = 'table' | 'index' | 'view' | 'trigger' | 'virtual table';

/** What an ALTER TABLE changes. `other` covers constraints and NOT NULL. */
export type AlterAction = 'rename' | 'rename column' | 'add column' | 'drop column' | 'other';

/** How INSERT and UPDATE resolve a violated constraint. */
export type ConflictAction = 'replace' | 'rollback' | 'abort' | 'fail' | 'ignore';

/** The lock that a BEGIN takes. */
export type TransactionMode = 'deferred' | 'immediate' | 'exclusive';

/** The facts of a CREATE, DROP or ALTER. DROP TABLE of a virtual table reads `table`: its text does not tell. */
export interface DDLInfo {
  readonly action: 'create' | 'drop' | 'alter';
  readonly object: SchemaObject;
  readonly name: ObjectName;
  /** The offset of the name, schema included, in the statement's text. */
  readonly nameOffset: number;
  readonly ifExists: boolean;
  readonly ifNotExists: boolean;
  /** CREATE TABLE ... AS SELECT. */
  readonly asSelect: boolean;
  /** The table of CREATE INDEX, the table or view of CREATE TRIGGER. */
  readonly on?: ObjectName;
  readonly alter?: AlterAction;
  /** Of a rename: what the table is called then. */
  readonly newName?: string;
}

/** The facts of a PRAGMA. */
export interface PragmaInfo {
  readonly schema?: string;
  /** In lower case. */
  readonly name: string;
  readonly hasArgument: boolean;
  /** The argument as written, in quotes if it was. */
  readonly argument?: string;
}

/** What the text of one statement tells, without a database. */
export interface StatementInfo {
  readonly kind: StatementKind;
  /** The first keyword in upper case, such as `CREATE` or `WITH`; empty when the text does not start with a word. */
  readonly verb: string;
  /** TEMP by keyword or by a `temp.` qualifier. An unqualified name may be temporary nevertheless. */
  readonly temp: boolean;
  /**
   * Whether it can change a database file. True for `unknown`, false for a statement that EXPLAIN only describes and
   * for statements that change the connection alone, such as ATTACH or BEGIN.
   */
  readonly writes: boolean;
  /** Whether an INSERT, UPDATE or DELETE has a RETURNING clause. */
  readonly returning: boolean;
  /** Whether `REPLACE INTO`, `INSERT OR REPLACE` or `UPDATE OR REPLACE` occurs, in a trigger's body too. */
  readonly replace: boolean;
  /** Whether the word REPLACE occurs other than as the function `replace(`: ON CONFLICT REPLACE, or just a name. */
  readonly mentionsReplace: boolean;
  /** Whether `OR ROLLBACK`, `ON CONFLICT ROLLBACK` or `RAISE(ROLLBACK` occurs: it may end the transaction itself. */
  readonly mentionsRollback: boolean;
  /** The table of an INSERT, UPDATE or DELETE. */
  readonly target?: ObjectName;
  readonly conflict?: ConflictAction;
  readonly ddl?: DDLInfo;
  readonly pragma?: PragmaInfo;
  /** Of a rollback: whether it only goes back to a savepoint. */
  readonly rollbackTo?: boolean;
  /** Of a begin. */
  readonly transactionMode?: TransactionMode;
  /** Of a vacuum: whether it writes a copy (VACUUM INTO) and leaves the database as it is. */
  readonly into?: boolean;
  /**
   * The statement behind EXPLAIN. SQLite runs many PRAGMAs while it compiles them, under EXPLAIN as well: look here
   * before preparing one.
   */
  readonly explained?: StatementInfo;
  /** A hint comment may be in it; absent where there is none. */
  readonly hinted?: true;
}

/** What a reader of one kind of statement finds; the rest is common to all. */
export type StatementFacts = Pick<StatementInfo, 'kind' | 'writes'> &
  Partial<Omit<StatementInfo, 'kind' | 'verb' | 'writes'>>;

/** Text that is not a statement of SQLite. It counts as writing: to refuse it is SQLite's business. */
export const UNKNOWN: StatementFacts = { kind: 'unknown', writes: true };
