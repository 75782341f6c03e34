import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { get } from './client.js';
import { contentsOf } from './files.js';
import { Node } from './node.js';
import { reportLines } from './report.js';
import { Resource } from './resource.js';

const ORMS = ['kysely', 'typeorm', 'knex', 'objection', 'mikro-orm', 'drizzle', 'sequelize', 'cls'];
/** Authors in each library. */
const AUTHORS = 8;
/** Clients of each resource; half of them at each node. */
const CLIENTS = 4;
/** Transfers of each client. */
const TRANSFERS = Number(process.argv[2] ?? 15);

const folder = await mkdtemp(join(tmpdir(), 'nestjs-ha-orms-'));
const nodes: Node[] = [];
let fail: (error: Error) => void = () => undefined;
const failure = new Promise<never>((_resolve, reject) => (fail = reject));
try {
  process.exitCode = (await Promise.race([run(), failure])) ? 0 : 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await Promise.all(nodes.map((node) => node.stop('SIGKILL')));
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

/** Works on all resources at once, at both nodes. True where all is as it should be. */
async function run(): Promise<boolean> {
  const port = await freePort();
  const nats = encodeURIComponent(`${folder}/nats`);
  nodes.push(nodeOf('node1', `natsPort=${port}&natsStoreDir=${nats}`));
  nodes.push(nodeOf('node2', `replicationURL=nats://127.0.0.1:${port}`));
  const begun = performance.now();
  await Promise.all(nodes.map((node) => node.start()));
  console.log(`Two nodes, started at once, have run the migrations of ${ORMS.length} ORMs (${seconds(begun)}).`);

  const resources = ORMS.map((orm) => new Resource(orm, nodes));
  const loaded = performance.now();
  await Promise.all(resources.map((resource) => resource.create(AUTHORS)));
  await settled();
  await Promise.all(resources.map((resource) => resource.transfer(CLIENTS, TRANSFERS)));
  await settled();
  console.log(
    `${CLIENTS} clients of each ORM, at both nodes, moved copies between the same books (${seconds(loaded)}).\n`,
  );

  const findings = await Promise.all(resources.map((resource) => resource.compare()));
  console.log(reportLines(resources, findings).join('\n'));
  for (const { wrong } of resources) for (const line of wrong) console.log(line);
  for (const { name, complaints } of nodes) for (const line of complaints) console.log(`${name}: ${line}`);

  // Node 1 has the stream of both.
  for (const node of nodes.toReversed()) await node.stop();
  const files = nodes.map(({ name }) => contentsOf(`${folder}/${name}.db`));
  console.log();
  for (const [index, { tables, rows, checksum }] of files.entries()) {
    console.log(`${nodes[index]?.name}: ${tables} tables, ${rows} rows, SHA-256 ${checksum.slice(0, 16)}…`);
  }
  const isRight =
    new Set(files.map(({ checksum }) => checksum)).size === 1 &&
    findings.every(({ areEqual, isExact }) => areEqual && isExact) &&
    resources.every(({ wrong }) => wrong.length === 0);
  console.log(isRight ? 'Both nodes hold the same, and no copy was lost or made.' : 'SOMETHING IS WRONG.');
  return isRight;
}

function nodeOf(name: string, nats: string): Node {
  return new Node(name, `file:${encodeURI(folder)}/${name}.db?name=${name}&replicationID=library&${nats}`, fail);
}

/** Waits until both nodes are at one position of the stream: nobody writes any more. */
async function settled(): Promise<void> {
  for (;;) {
    const positions = await Promise.all(nodes.map(({ url }) => get<{ position: string }>(`${url}/status`)));
    if (positions[0]?.position === positions[1]?.position) return;
    await sleep(20);
  }
}

/** A port that is free at this moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1_000).toFixed(1)} s`;
}
