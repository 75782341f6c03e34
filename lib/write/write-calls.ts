import type { RowShape } from '../sqlite/statement-cache.js';
import type { DatabaseLifecycle } from './database-lifecycle.js';
import type { HAParameters, HATransaction, HATransactionOptions } from './executor.js';
import type { LocalWrites } from './local-writes.js';
import { refuseReadOnly } from './open-database.js';
import type { OpenDatabase } from './open-database.js';
import type { ResultShape, StatementResult } from './result.js';
import type { ScriptPart } from './script.js';
import type { WriteTicket } from './session.js';
import { inShape } from './shapes.js';
import { refuseUnfollowed } from './statement-info.js';
import type { ReadMethod, RemoteWriter, Way } from './write-router.js';

/** Writes of callers: refused on a read replica, run at the leader where there is one, and here where every node writes. */
export class WriteCalls {
  /** @param owner The database, which calls from inside its transactions are told by. */
  constructor(
    private readonly owner: object,
    private readonly local: LocalWrites,
    private readonly defaults: Pick<DatabaseLifecycle, 'transactionTimeout'>,
  ) {}

  /** One statement. */
  call(
    open: OpenDatabase,
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): Promise<unknown> {
    refuseReadOnly(open);
    if (open.router === undefined) return this.local.call(open, method, sql, params, shape);
    return open.router.route({
      here: () => this.local.call(open, method, sql, params, shape),
      there: (leader) => leader.call(method, sql, params, shape),
    });
  }

  /** One statement or several as one transaction; gives all that the last of them did. */
  writeAll(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    shape: ResultShape,
    ticket: WriteTicket | undefined,
  ): Promise<StatementResult> {
    refuseReadOnly(open);
    const there = async (leader: RemoteWriter): Promise<StatementResult> =>
      inShape(await leader.writeAll(statements, params, ticket?.foreignKeys), shape);
    return routed(open, { here: () => this.local.writeAll(open, statements, params, shape, ticket), there });
  }

  /**
   * The same for another node, which has sent it here as to the leader.
   *
   * @throws HAError `HA_NOT_LEADER`, `HA_LEADER_LOOP` where this node is not it.
   */
  writeForwarded(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    shape: ResultShape,
    ticket: WriteTicket | undefined,
  ): Promise<StatementResult> {
    open.router?.refuseUnlessLeader();
    refuseReadOnly(open);
    return this.local.writeAll(open, statements, params, shape, ticket);
  }

  /** A part of a script. */
  async scriptPart(open: OpenDatabase, { alone, statements }: ScriptPart): Promise<unknown> {
    if (alone) return this.local.runAlone(open, 'run', statements[0] ?? '');
    refuseReadOnly(open);
    const here = (): Promise<void> => this.local.script(open, statements);
    return routed(open, { here, there: (leader) => leader.exec(statements) });
  }

  /** A callback as one transaction. It goes to another leader only as long as it has not run. */
  transaction<R>(
    open: OpenDatabase,
    fn: (tx: HATransaction) => R | Promise<R>,
    options: HATransactionOptions,
  ): Promise<R> {
    refuseReadOnly(open);
    if (options.serializable === true && open.publishesOnly) refuseUnfollowed('A serializable transaction');
    const serializable = options.serializable ?? false;
    const timeout = options.timeout ?? this.defaults.transactionTimeout;
    const callback = { key: fn.toString(), serializable, retry: options.retry ?? true, timeout };
    if (open.router === undefined) return this.local.transaction(open, fn, callback);
    let hasRun = false;
    const once = (tx: HATransaction): R | Promise<R> => {
      hasRun = true;
      return fn(tx);
    };
    return open.router.route({
      here: () => this.local.transaction(open, once, callback),
      there: (leader) => leader.transaction(this.owner, once, options, { idleTimeout: timeout, timeout, serializable }),
      isRepeatable: () => !hasRun,
    });
  }

  /** VACUUM and checkpoints: each node has its own. */
  runAlone(open: OpenDatabase, method: ReadMethod, sql: string): Promise<unknown> {
    return this.local.runAlone(open, method, sql);
  }
}

/** Runs a write where the leader is, if there is one. */
function routed<R>({ router }: OpenDatabase, way: Way<R>): Promise<R> {
  return router === undefined ? way.here() : router.route(way);
}
