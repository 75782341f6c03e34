import type { RowShape } from '../sqlite/statement-cache.js';
import { answeringAcross, callAcross } from './cross-calls.js';
import { opened } from './database-lifecycle.js';
import type { DatabaseLifecycle } from './database-lifecycle.js';
import { PLAIN_SHAPE } from './executor.js';
import type { HAParameters, HAReadOptions } from './executor.js';
import { consistencyRefused } from './hinted.js';
import type { OpenDatabase } from './open-database.js';
import type { StatementTarget } from './prepared.js';
import { runsAlone } from './script.js';
import { isWrite } from './statement-info.js';
import { refuseNested } from './transaction-context.js';
import type { WriteCalls } from './write-calls.js';
import type { WriteMemory } from './write-memory.js';
import type { ReadMethod } from './write-router.js';

/**
 * Calls of one statement, outside of transactions. Reads are answered from this node, at once or when it has caught up, from
 * the leader, or from several databases; writes go their own way.
 */
export class StatementCalls implements StatementTarget {
  /** @param owner The database, which calls from inside its transactions are told by. */
  constructor(
    private readonly owner: object,
    private readonly lifecycle: DatabaseLifecycle,
    private readonly writes: WriteCalls,
    private readonly memory: WriteMemory,
  ) {}

  /** A read answers at once, without a promise in between: point reads cost little more than SQLite itself. */
  call(method: ReadMethod, sql: string, params: HAParameters | undefined, shape: RowShape): unknown {
    refuseNested(this.owner);
    const { open } = this.lifecycle;
    this.lifecycle.touch?.();
    return open === undefined
      ? this.callLater(method, sql, params, shape)
      : this.callOpen(open, method, sql, params, shape);
  }

  /** The same where the caller says what the read has to see. */
  read(
    method: 'get' | 'all',
    sql: string,
    params: HAParameters | undefined,
    options: HAReadOptions | undefined,
  ): unknown {
    const { consistency = 'local' } = options ?? {};
    if (consistency === 'local') return this.call(method, sql, params, PLAIN_SHAPE);
    return this.readConsistently(consistency, method, sql, params);
  }

  /** Rows one by one, in one snapshot; all at once from the leader, and of what writes. */
  async *iterate(
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
    { consistency = 'local' }: HAReadOptions = {},
  ): AsyncIterableIterator<unknown> {
    refuseNested(this.owner);
    const open = this.lifecycle.open ?? (await opened(this.lifecycle));
    const info = open.infos.of(sql);
    const across = isWrite(info) ? undefined : answeringAcross(this.lifecycle.cross, sql, info);
    if (across !== undefined) {
      if (consistency !== 'local') throw consistencyRefused(consistency);
      yield* across.iterate(params, shape);
      return;
    }
    if (consistency === 'leader' && open.router?.isLocal === false) {
      yield* (await this.readConsistently(consistency, 'all', sql, params)) as unknown[];
      return;
    }
    if (consistency !== 'local') await this.catchUp(open, consistency);
    if (isWrite(info)) yield* (await this.writes.call(open, 'all', sql, params, shape)) as unknown[];
    else yield* open.reads.iterate(sql, params, shape);
  }

  private async callLater(
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): Promise<unknown> {
    return this.callOpen(await opened(this.lifecycle), method, sql, params, shape);
  }

  private callOpen(
    open: OpenDatabase,
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): unknown {
    const info = open.infos.of(sql);
    if (!isWrite(info)) {
      const across = answeringAcross(this.lifecycle.cross, sql, info);
      return across === undefined
        ? open.reads.call(method, sql, params, shape)
        : callAcross(across, method, params, shape);
    }
    if (runsAlone(sql, open.infos)) return this.writes.runAlone(open, method, sql);
    return this.writes.call(open, method, sql, params, shape);
  }

  private async readConsistently(
    consistency: 'session' | 'leader',
    method: 'get' | 'all',
    sql: string,
    params: HAParameters | undefined,
  ): Promise<unknown> {
    refuseNested(this.owner);
    const open = await opened(this.lifecycle);
    const here = async (): Promise<unknown> => this.callOpen(open, method, sql, params, PLAIN_SHAPE);
    const info = open.infos.of(sql);
    if (isWrite(info)) return here();
    if (answeringAcross(this.lifecycle.cross, sql, info) !== undefined) throw consistencyRefused(consistency);
    if (consistency === 'leader' && open.router !== undefined) {
      return open.router.route({ here, there: (leader) => leader.read(method, sql, params, PLAIN_SHAPE) });
    }
    await this.catchUp(open, consistency);
    return here();
  }

  /** Waits until this node has what a read has to see. */
  private async catchUp(open: OpenDatabase, consistency: 'session' | 'leader'): Promise<void> {
    if (open.position === undefined) return;
    const sequence = consistency === 'leader' ? ((await open.latest?.()) ?? 0) : this.memory.last();
    await open.position.waitFor(sequence, { timeout: this.lifecycle.readTimeout });
  }
}
