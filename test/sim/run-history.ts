import type { HASession } from '../../lib/write/session.js';
import type { HATransaction } from '../../lib/write/executor.js';
import { checkWorld, MARKS, markSql } from './check.js';
import type { Fault, History, SimEvent, TransactionSpec } from './history.js';
import { COPIES, INTERCEPTORS } from './interceptors.js';
import { schemaSql } from './schema-generator.js';
import type { SimNode } from './sim-node.js';
import { World } from './world.js';

/** What came of a history that went well. */
export interface HistoryResult {
  readonly writes: number;
  readonly resolved: number;
  readonly messages: number;
  readonly checks: number;
  readonly leftOut: number;
  /** Conflicts in the stream, which nodes were compared with. */
  readonly conflicts: number;
  /** Undos that were compared with what was there before. */
  readonly undone: number;
  /** Transactions that interceptors changed. */
  readonly intercepted: number;
}

/**
 * Runs a history on real nodes.
 *
 * @throws Divergence where a promise is broken.
 */
export async function runHistory(history: History): Promise<HistoryResult> {
  const { schema, nodes, seed, maxPayload, generatedIds, serializable, replicas, batchLimit, rowIdentify } = history;
  const { asyncNodes, outboxFile, interceptors, cdc, slowness } = history;
  const list = INTERCEPTORS[interceptors] ?? (() => []);
  const made = interceptors === 'chained' ? COPIES : [];
  const world = await World.open(nodes, [MARKS, ...made, ...schemaSql(schema)], {
    seed,
    foreignKeys: schema.foreignKeys,
    recursiveTriggers: schema.recursiveTriggers,
    maxPayload,
    generatedIds,
    serializable,
    replicas,
    batchLimit,
    rowIdentify,
    asyncNodes,
    outboxFile,
    slowness,
    interceptors: list,
    waitsForInterceptors: seed % 2 === 0,
    cdc,
  });
  try {
    for (const node of world.nodes) node.targetFailure = 0.1;
    let marks = 0;
    for (const { event, tasks } of history.steps) {
      applyEvent(world, event, () => `mark-${++marks}-`);
      await world.scheduler.run(tasks);
      if (world.random.chance(0.1)) world.check(world.random.below(nodes));
    }
    await world.settle();
    for (const write of world.writes) world.ask(write);
    await world.settle();
    checkWorld(world);
    return {
      writes: world.writes.length,
      resolved: world.writes.filter(({ state }) => state === 'resolved').length,
      messages: world.log.state().lastSequence,
      checks: world.checks,
      leftOut: world.oracle.leftOut.length,
      intercepted: world.oracle.intercepted.length,
      conflicts: world.nodes.some(({ isUnbroken }) => isUnbroken) ? world.oracle.conflicts.length : 0,
      undone: world.undone,
    };
  } finally {
    world.close();
  }
}

function applyEvent(world: World, event: SimEvent, nextMark: () => string): void {
  switch (event.type) {
    case 'write':
      for (const spec of event.transactions) {
        const mark = spec.form === 'statement' ? undefined : nextMark();
        world.write(event.node, (node) => start(node, spec, mark), mark);
      }
      return;
    case 'deliver':
      void world.node(event.node).stream.deliver(event.count);
      return;
    case 'fault':
      harm(world.node(event.node), event.fault, event.count);
      return;
    case 'duplicate':
      world.broker.forgetIds();
      world.broker.republish(1 + (event.pick % world.log.state().lastSequence));
      return;
    case 'foreign':
      world.foreign(event.count);
      return;
    case 'undo':
      world.undo(event.node, event.back, event.scope, event.force);
      return;
    case 'forget':
      world.broker.forgetIds();
      return;
    case 'kill':
      world.kill(event.node, event.offline);
      return;
    case 'restart':
      world.node(event.node).restart(event.offline);
      return;
    case 'disconnect':
      if (world.node(event.node).isOpen) world.node(event.node).stream.disconnect();
      return;
    case 'connect':
      void world.node(event.node).stream.connect();
      return;
    case 'check':
      world.check(event.node);
  }
}

function harm({ stream }: SimNode, fault: Fault, count: number): void {
  if (fault === 'loseAcks') stream.loseAcks(count);
  else if (fault === 'dropNext') stream.dropNext(count);
  else if (fault === 'breakBatches') stream.breakBatches(count);
  else stream.refuseNext(count);
}

function start({ db }: SimNode, spec: TransactionSpec, mark: string | undefined): Promise<unknown> {
  if (spec.session === true) return runSession(db.connect(), spec, mark);
  if (mark === undefined) return db.run(spec.statements[0] ?? '');
  if (spec.form === 'script') return db.exec([markSql(mark), ...spec.statements].join(';\n'));
  const callback = (tx: HATransaction): Promise<void> => runCallback(tx, spec, mark);
  callback.toString = () => `callback of kind ${spec.kind}`;
  return db.transaction(callback, { serializable: spec.serializable, retry: spec.retry });
}

async function runSession(session: HASession, spec: TransactionSpec, mark: string | undefined): Promise<unknown> {
  try {
    const { foreignKeys } = spec;
    if (foreignKeys !== undefined) await session.execute(`PRAGMA foreign_keys = ${foreignKeys ? 'ON' : 'OFF'}`);
    if (mark === undefined) return await session.execute(spec.statements[0] ?? '');
    if (spec.form === 'script') return await session.script([markSql(mark), ...spec.statements].join(';\n'));
    await session.execute(spec.serializable ? 'BEGIN EXCLUSIVE' : 'BEGIN');
    await session.execute(markSql(mark));
    const plain = spec.statements.length - spec.inSavepoint;
    for (const [index, sql] of spec.statements.entries()) {
      if (spec.slow) await new Promise((resolve) => setTimeout(resolve, 3));
      if (spec.inSavepoint > 0 && index === plain) await session.execute('SAVEPOINT part');
      await session.execute(sql).catch(() => undefined);
    }
    if (spec.inSavepoint > 0) await session.execute(spec.savepointFails ? 'ROLLBACK TO part' : 'RELEASE part');
    return await session.execute('COMMIT');
  } finally {
    await session.close();
  }
}

async function runCallback(tx: HATransaction, spec: TransactionSpec, mark: string): Promise<void> {
  await tx.run(markSql(mark));
  const plain = spec.statements.length - spec.inSavepoint;
  await runAll(tx, spec, spec.statements.slice(0, plain));
  if (spec.inSavepoint === 0) return;
  const part = tx.savepoint(async (inner) => {
    await runAll(inner, spec, spec.statements.slice(plain));
    if (spec.savepointFails) throw new Error('the savepoint is rolled back');
  });
  await part.catch(() => undefined);
}

/** Statements that fail are passed over, as an application might. */
async function runAll(tx: HATransaction, spec: TransactionSpec, statements: readonly string[]): Promise<void> {
  for (const sql of statements) {
    if (spec.slow) await new Promise((resolve) => setTimeout(resolve, 3));
    await tx.run(sql).catch(() => undefined);
  }
}
