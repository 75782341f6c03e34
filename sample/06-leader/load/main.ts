import 'reflect-metadata';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, emptyTally } from './client.js';
import type { Tally } from './client.js';
import { freePort, Node } from './node.js';
import { Replica } from './replica.js';

const CLIENTS = 8;
/** Orders in front of each trouble, and behind the last. */
const ORDERS = Number(process.argv[2] ?? 300);

const folder = await mkdtemp(join(tmpdir(), 'nestjs-ha-orders-'));
const nodes: Node[] = [];
let replica: Replica | undefined;
let fail: (error: Error) => void = () => undefined;
const failure = new Promise<never>((_resolve, reject) => (fail = reject));
try {
  process.exitCode = (await Promise.race([run(), failure])) ? 0 : 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await Promise.all(nodes.map((node) => node.stop('SIGKILL')));
  await replica?.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

/** Places orders on all nodes, kills the leader, stops the next one, and compares. True where all is as it should be. */
async function run(): Promise<boolean> {
  const natsPort = await freePort();
  replica = await Replica.start(folder, natsPort);
  for (const name of ['node1', 'node2', 'node3']) nodes.push(await nodeOf(name, natsPort));
  await Promise.all(nodes.map((node) => node.start()));
  console.log(`${(await leader()).name} leads. ${CLIENTS} clients place orders, each at any node.`);
  const tally = emptyTally();
  let isOver = false;
  const client = async (): Promise<void> => {
    const self = new Client(nodes, tally);
    while (!isOver) await self.order();
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, client));
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    await placed(tally, ORDERS);
    await trouble(signal);
  }
  await placed(tally, ORDERS);
  isOver = true;
  await clients;
  const { orders, sold } = await replica.sales(tally.sequence);
  const lost = [...tally.placed.keys()].filter((id) => !orders.has(id));
  const ordered = [...orders.values()].reduce((sum, quantity) => sum + quantity, 0);
  const isRight =
    lost.length === 0 && sold === ordered && tally.wrong.length === 0 && orders.size === tally.placed.size;
  const again = [...tally.again].map(([what, count]) => `${what} × ${count}`).join(', ');
  for (const line of tally.wrong) console.log(line);
  console.log(
    [
      `orders placed          ${tally.placed.size}`,
      `orders stored          ${orders.size}, of those placed ${lost.length} lost`,
      `pieces ordered, sold   ${ordered}, ${sold}`,
      `sent again after       ${again === '' ? 'nothing' : again}`,
      `refused or not found   ${tally.wrong.length}`,
      `longest order          ${(tally.longest / 1_000).toFixed(1)} s`,
      isRight ? 'No order was lost, and none was sold twice.' : 'SOMETHING IS WRONG.',
    ].join('\n'),
  );
  return isRight;
}

async function nodeOf(name: string, natsPort: number): Promise<Node> {
  const port = await freePort();
  const cluster = `clusterSize=3&leaderProvider=${encodeURIComponent(`dynamic:http://127.0.0.1:${port}`)}`;
  const nats = encodeURIComponent(`nats://127.0.0.1:${natsPort}`);
  const file = `file:${encodeURI(folder)}/${name}.db`;
  return new Node(name, port, `${file}?name=${name}&replicationID=orders&replicationURL=${nats}&${cluster}`, fail);
}

/** Waits until clients have placed so many more. */
async function placed(tally: Tally, more: number): Promise<void> {
  const end = tally.placed.size + more;
  while (tally.placed.size < end) await sleep(20);
}

/** Ends the leader, says how long the others took, and starts it again. */
async function trouble(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const old = await leader();
  const begun = performance.now();
  const stopped = old.stop(signal);
  const next = await leader(old);
  console.log(
    `${old.name} ended with ${signal}; ${next.name} leads ${Math.round(performance.now() - begun)} ms later.`,
  );
  await stopped;
  await old.start();
}

/** Waits for a leader, another than the old one. */
async function leader(old?: Node): Promise<Node> {
  for (;;) {
    for (const node of nodes) if (node !== old && (await node.leads())) return node;
    await sleep(20);
  }
}
