import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import type { MemoryNode } from '../../helper/memory-node.js';
import { temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import { listOf } from './pairs.js';

/** What a real go-ha published; see test/data/golden. */
interface Recorded {
  readonly case: string;
  readonly rowIdentify: string;
  readonly messages: readonly { readonly data: string }[];
}

const cases = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../data/golden/changesets.json'), 'utf8'),
) as Recorded[];

/** The messages behind the last change of the schema; at least one of them changes rows. */
const undoable = cases.flatMap((recorded) => {
  const texts = recorded.messages.map(({ data }) => data);
  const first = texts.findLastIndex((text) => text.includes('"operation":"SQL"')) + 1;
  const from = Math.min(texts.length, first + 1 + Math.floor((texts.length - first) / 2));
  const changesRows = texts.slice(from - 1).some((text) => /"operation":"(INSERT|UPDATE|DELETE)"/.test(text));
  return first < texts.length && changesRows
    ? [{ name: `${recorded.case} (${recorded.rowIdentify})`, from, texts }]
    : [];
});

async function nodeWith(texts: readonly string[]): Promise<MemoryNode<MemoryStream>> {
  const broker = new MemoryBroker();
  broker.ensure('s', 1);
  for (const text of texts) {
    const data = Buffer.from(text);
    broker.append({ subject: 's.db', data, id: undefined, version: undefined, chunk: undefined }, 's');
  }
  const node = memoryNode('n', temporaryFolder(), new MemoryStream({ broker, ...MEMORY_STREAM }));
  await node.db.start();
  await node.db.waitFor(BigInt(texts.length), { timeout: 30_000 });
  return node;
}

const rowsOf = (path: string): unknown => ({ ...dumpFile(path), sequences: [] });

it.each(undoable)('what go-ha wrote is told, undone and done again: $name', async ({ from, texts }) => {
  const { db, path } = await nodeWith(texts);
  const then = await nodeWith(texts.slice(0, from - 1));
  const wrong = rowsOf(path);
  for (const transaction of await listOf(db.history())) expect(JSON.parse(JSON.stringify(transaction))).toBeDefined();
  const sequence = await db.undo({ from: BigInt(from) }).then(
    (result) => result.sequence,
    (error: { code?: string }) => {
      // All of it was left out by every node: of tables that no message makes, and behind a virtual table.
      if (error.code !== 'HA_UNDO_INVALID') throw error as Error;
      return undefined;
    },
  );
  expect(rowsOf(path)).toEqual(rowsOf(then.path));
  if (sequence === undefined) return;
  await db.undo({ from: sequence });
  expect(rowsOf(path)).toEqual(wrong);
});
