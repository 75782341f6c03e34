import { setTimeout as sleep } from 'node:timers/promises';
import { differingLines, query, stateOfFile } from './checksum.js';
import type { FileState } from './checksum.js';
import { STREAM } from './cluster.js';
import type { Cluster } from './cluster.js';
import type { Ledger, Write } from './ledger.js';
import { LeaderModel } from './leader-model.js';
import { StreamModel } from './model.js';
import type { NodeProcess } from './node-process.js';
import { readTransactions } from './stream-messages.js';

/** A promise that was put to the test, and where it does not hold. */
export interface Check {
  readonly name: string;
  readonly problems: readonly string[];
}

const CATCH_UP_MS = 90_000;
const QUIET_MS = 1_500;
const CLOSE_MS = 20_000;

/** Waits until every node stands at the end of the stream, and the stream has come to its end. Returns that. */
export async function whenQuiet(cluster: Cluster): Promise<number> {
  const deadline = performance.now() + CATCH_UP_MS;
  let last = -1;
  for (let since = performance.now(); ; await sleep(100)) {
    const now = await cluster.lastSequence().catch(() => -1);
    const states = await Promise.all(cluster.nodes.map((node) => node.state()));
    const standing = states.map((state) => state?.received ?? -1);
    if (now !== last || now < 0 || standing.some((received) => received < now)) since = performance.now();
    last = now;
    if (performance.now() - since > QUIET_MS) return last;
    if (performance.now() > deadline) {
      throw new Error(
        `The stream ends at ${now}, but the nodes stand at ${standing.join(', ')}: ${JSON.stringify(states)}`,
      );
    }
  }
}

/** Closes the nodes, folds the stream anew, and compares everything with everything. */
export async function check(cluster: Cluster, ledger: Ledger, hasLeader: boolean): Promise<Check[]> {
  await Promise.all(cluster.nodes.map((node) => node.close(CLOSE_MS)));
  // Nodes that stop one after another elect each other.
  const last = await cluster.lastSequence();
  const model = new StreamModel();
  const leaders = new LeaderModel();
  const duplicates: string[] = [];
  const connection = await cluster.connect();
  for await (const transaction of readTransactions(connection, STREAM, last, (id, sequence) => {
    duplicates.push(`message ${id} again at ${sequence}`);
  })) {
    model.take(transaction);
    leaders.take(transaction);
  }
  const fold = cluster.makeNode('fold', cluster.urls, true);
  cluster.nodes.push(fold);
  fold.spawn();
  await fold.whenReady();
  const { received = -1 } = (await fold.state()) ?? {};
  await fold.close(CLOSE_MS);
  const expected = stateOfFile(fold.config.file);
  return [
    ...cluster.nodes.flatMap((node) => compare(node, fold, expected)),
    { name: 'fold reaches the end of the stream', problems: received === last ? [] : [`${received} of ${last}`] },
    { name: 'no message twice in the stream', problems: duplicates },
    ...checkWrites(ledger, model),
    { name: 'serializable transfers and increments, one by one', problems: model.problems },
    { name: 'rows as an independent reading of the stream', problems: checkRows(fold, model) },
    { name: 'counter equals its increments', problems: checkCounter(fold, ledger, model) },
    ...(hasLeader ? checkLeaders(leaders, ledger) : []),
    { name: 'answers make sense', problems: ledger.oddities },
    { name: 'nodes behave', problems: cluster.nodes.flatMap(({ problems }) => problems) },
  ];
}

function checkLeaders(leaders: LeaderModel, ledger: Ledger): Check[] {
  return [
    { name: `one writer for each position (${leaders.elections} elections)`, problems: leaders.problems },
    { name: 'every failure may be run again', problems: ledger.final },
  ];
}

function compare(node: NodeProcess, fold: NodeProcess, expected: FileState): Check[] {
  const { name, file } = node.config;
  const state = node === fold ? expected : stateOfFile(file);
  const integrity = { name: `${name}: integrity_check`, problems: state.integrity === 'ok' ? [] : [state.integrity] };
  if (node === fold) return [integrity];
  const tables = new Set([...Object.keys(state.tables), ...Object.keys(expected.tables)]);
  const differing = [...tables].filter((table) => state.tables[table]?.sha256 !== expected.tables[table]?.sha256);
  const problems = differing.flatMap((table) => {
    const known = table in state.tables && table in expected.tables;
    return [`table ${table}`, ...(known ? differingLines(file, fold.config.file, table) : ['is missing'])];
  });
  if (state.schema !== expected.schema) problems.push('schema', ...differingLines(file, fold.config.file, ''));
  if (state.skipped !== expected.skipped) problems.push(`skipped ${state.skipped}, the fold ${expected.skipped}`);
  return [{ name: `${name}: equals the fold of the stream`, problems }, integrity];
}

function checkWrites(ledger: Ledger, model: StreamModel): Check[] {
  const lost: string[] = [];
  const doubled: string[] = [];
  const undead: string[] = [];
  const misplaced: string[] = [];
  for (const [marker, write] of ledger.writes) {
    const places = model.places.get(marker) ?? [];
    const what = describe(marker, write, places);
    if (write.outcome === 'acknowledged' && places.length === 0) lost.push(what);
    if (places.length > 1) doubled.push(what);
    if (write.outcome === 'failed' && places.length > 0) undead.push(what);
    if (write.sequence !== undefined && places.length === 1 && places[0]?.sequence !== write.sequence)
      misplaced.push(what);
  }
  return [
    { name: 'every acknowledged write is in the stream', problems: lost },
    { name: 'no write is in the stream twice', problems: doubled },
    { name: 'no failed write is in the stream', problems: undead },
    { name: 'acknowledged sequences are where the writes stand', problems: misplaced },
    { name: 'every write was answered', problems: pending(ledger) },
  ];
}

function pending(ledger: Ledger): string[] {
  return [...ledger.writes]
    .filter(([, { outcome }]) => outcome === 'pending')
    .map(([marker, write]) => describe(marker, write, []));
}

function describe(
  marker: string,
  { kind, node, outcome, code, sequence }: Write,
  places: readonly { sequence: number }[],
): string {
  const found = places.map((place) => place.sequence).join(', ');
  return `${marker} (${kind} at ${node}, ${outcome} ${code} ${sequence ?? ''}) is at [${found}]`;
}

/** Tables whose rows are told by key alone need no library to be folded. */
function checkRows({ config }: NodeProcess, model: StreamModel): string[] {
  const problems: string[] = [];
  for (const table of ['hot', 'account', 'counter', 'generated', 'counted', 'explicit']) {
    const expected = model.rows[table] ?? new Map<unknown, string>();
    const columns = table === 'explicit' ? 'id, marker' : '*';
    const rows = query(config.file, `SELECT ${columns} FROM ${table}`);
    if (rows.length !== expected.size) problems.push(`${table}: ${rows.length} rows, ${expected.size} in the stream`);
    for (const row of rows) {
      const text = expected.get(row[0]);
      const same = table === 'explicit' ? text !== undefined : text === JSON.stringify(row);
      if (!same) problems.push(`${table}: ${JSON.stringify(row)}, in the stream ${text}`);
    }
  }
  const bags = query(config.file, 'SELECT marker, count(*) FROM bag GROUP BY 1 HAVING count(*) > 2');
  for (const [marker, count] of bags) problems.push(`bag: ${String(marker)} ${String(count)} times`);
  return problems;
}

function checkCounter({ config }: NodeProcess, ledger: Ledger, model: StreamModel): string[] {
  const [[n] = []] = query(config.file, 'SELECT n FROM counter');
  const writes = [...ledger.writes].filter(([, { kind }]) => kind === 'increment');
  const acknowledged = writes.filter(([, { outcome }]) => outcome === 'acknowledged').length;
  const others = writes.filter(
    ([marker, { outcome }]) => outcome !== 'acknowledged' && outcome !== 'failed' && model.places.has(marker),
  ).length;
  if (n === acknowledged + others && n === model.increments) return [];
  return [
    `it is ${String(n)}; acknowledged ${acknowledged}, unknown but stored ${others}, in the stream ${model.increments}`,
  ];
}
