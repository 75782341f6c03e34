import type { History, SimEvent, TransactionSpec } from './history.js';

/** A history as a person reads it. */
export function showHistory(history: History): string {
  const { schema, seed, nodes, generatedIds, serializable, maxPayload, replicas, batchLimit, rowIdentify } = history;
  const { asyncNodes, outboxFile, slowness } = history;
  const settings = [
    `seed ${seed}`,
    `${nodes} nodes`,
    `recursive_triggers ${schema.recursiveTriggers ? 'ON' : 'OFF'}`,
    `foreign_keys ${schema.foreignKeys ? 'ON' : 'OFF'}`,
    `generatedIds ${generatedIds}`,
    ...(rowIdentify === 'pk' ? [] : [`rowIdentify ${rowIdentify}`]),
    ...(serializable ? ['concurrency serializable'] : []),
    ...(maxPayload < 1_000_000 ? [`maxPayload ${maxPayload}`] : []),
    ...(replicas > 1 ? [`${replicas} replicas`] : []),
    batchLimit > 1 ? `batches of ${batchLimit}` : 'no batches',
    ...asyncNodes.flatMap((isAsync, index) => (isAsync ? [`n${index} async`] : [])),
    ...(outboxFile ? ['outbox in a file'] : []),
    ...(slowness > 0.02 ? ['a slow machine'] : []),
    ...(history.interceptors === 'none' ? [] : [`interceptors ${history.interceptors}`]),
  ];
  const tables = schema.tables.flatMap(({ sql, indexes, rows }) => [sql, ...indexes, ...rows]);
  const steps = history.steps.map(({ event, tasks }) => {
    const wait = tasks === Number.POSITIVE_INFINITY ? '' : `   [then ${tasks} tasks]`;
    return `${showEvent(event, nodes)}${wait}`;
  });
  return [settings.join(', '), ...tables, ...schema.extras, ...steps].map((line) => `  ${line}`).join('\n');
}

function showEvent(event: SimEvent, nodes: number): string {
  const node = 'node' in event ? `n${event.node % nodes}` : '';
  switch (event.type) {
    case 'write':
      return event.transactions.map((spec) => `${node}: ${showTransaction(spec)}`).join('\n  ');
    case 'deliver':
      return `${node} <- ${event.count}`;
    case 'fault':
      return `${node} ${event.fault} ${event.count}`;
    case 'duplicate':
      return `duplicate ${event.pick}`;
    case 'foreign':
      return `foreign ${event.count}`;
    case 'forget':
      return 'forget ids';
    case 'undo':
      return `${node} undoes from ${event.back} back, ${event.scope}${event.force ? ', forced' : ''}`;
    case 'kill':
    case 'restart':
      return `${node} ${event.type}${event.offline === true ? ' offline' : ''}`;
    default:
      return `${node} ${event.type}`;
  }
}

function showTransaction(spec: TransactionSpec): string {
  const flags = [
    spec.form,
    ...(spec.serializable ? ['serializable'] : []),
    ...(spec.session === true ? ['session'] : []),
    ...(spec.foreignKeys === undefined ? [] : [`foreign_keys ${spec.foreignKeys ? 'ON' : 'OFF'}`]),
    ...(spec.retry || spec.form !== 'callback' ? [] : ['no retry']),
    ...(spec.slow && spec.form === 'callback' ? ['slow'] : []),
    ...(spec.inSavepoint > 0 && spec.form === 'callback'
      ? [`last ${spec.inSavepoint} in a savepoint${spec.savepointFails ? ' that fails' : ''}`]
      : []),
  ];
  return `${flags.join(', ')}: ${spec.statements.join('; ')}`;
}
