import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { HARemoteDatabase } from '../lib/grpc/client/remote-database.js';
import type { BenchCluster } from './cluster.js';
import { CREATE_PEOPLE, insertRate, median, rate } from './measure.js';
import type { Report } from './report.js';

const same = (bytes: Buffer): Buffer => bytes;
/** A stream that sends back what it gets. */
export const ECHO = {
  path: '/bench.Echo/Echo',
  requestStream: true,
  responseStream: true,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
} as const;
const INSERT = 'INSERT INTO people(id, name, email, age) VALUES(?, ?, ?, ?)';

/** What gRPC itself costs, and what a session adds to it. The server is a process of its own. */
export async function grpc(cluster: BenchCluster, url: string, report: Report, scale: number): Promise<void> {
  const main = fileURLToPath(new URL('./grpc-node.js', import.meta.url));
  const child = fork(main, [cluster.path('grpc-server.db'), url], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const [ports] = (await once(child, 'message')) as [{ database: number; echo: number }];
  const remote = new HARemoteDatabase({ url: `http://127.0.0.1:${ports.database}`, timeout: 60_000 });
  const echo = new Echo(ports.echo);
  try {
    await roundTrips(remote, echo, report, 5_000 * scale);
    await inserts(cluster, url, remote, report, 20_000 * scale);
  } finally {
    await remote.close();
    echo.close();
    await ended(child);
  }
}

async function roundTrips(remote: HARemoteDatabase, echo: Echo, report: Report, total: number): Promise<void> {
  await remote.run(INSERT, [1n, 'Some Name', 'some.name@example.com', 33n]);
  const connection = await remote.connect();
  const select = (): Promise<unknown> => connection.get('SELECT name, age FROM people WHERE id = ?', [1n]);
  const ours: number[] = [];
  const theirs: number[] = [];
  await times(total / 5, select);
  await times(total / 5, () => echo.ask());
  for (let round = 0; round < 3; round++) {
    theirs.push(await times(total, () => echo.ask()));
    ours.push(await times(total, select));
  }
  await connection.close();
  const [value, baseline] = [median(ours), median(theirs)];
  report.cost(
    'SELECT of one row over gRPC, p50, µs',
    value,
    `empty echo over a stream: ${baseline.toFixed(0)} µs`,
    undefined,
  );
  report.cost('… by the echo', value / baseline, 'each over one stream to another process', 1.5);
}

async function inserts(
  cluster: BenchCluster,
  url: string,
  remote: HARemoteDatabase,
  report: Report,
  total: number,
): Promise<void> {
  const { db, close } = await cluster.node('grpc-local.db', url);
  await db.exec(CREATE_PEOPLE);
  const ours: number[] = [];
  const local: number[] = [];
  for (let round = 1; round <= 3; round++) {
    const from = round * 1_000_000;
    local.push(await insertRate(db, from, total, 64));
    const insert = (n: number): Promise<unknown> =>
      remote.run(INSERT, [BigInt(from + n), 'Some Name', 'some.name@example.com', 33n]);
    ours.push(await rate(total, 64, insert));
  }
  report.rate('commits/s over gRPC, 64 sessions', median(ours), 'local, 64 writers', median(local), 0.6);
  await close();
}

/** The median of the times that calls took one after another, µs. */
async function times(count: number, call: () => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let n = 0; n < count; n++) {
    const started = performance.now();
    await call();
    taken.push((performance.now() - started) * 1_000);
  }
  return median(taken);
}

async function ended(child: ChildProcess): Promise<void> {
  child.disconnect();
  if (child.exitCode === null) await once(child, 'exit');
}

/** A caller of the echo. */
class Echo {
  private readonly client: Client;
  private readonly stream: ClientDuplexStream<Buffer, Buffer>;
  private answered: () => void = () => undefined;

  constructor(port: number) {
    this.client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    this.stream = this.client.makeBidiStreamRequest(ECHO.path, same, same);
    this.stream.on('data', () => this.answered());
    this.stream.on('error', () => undefined);
  }

  async ask(): Promise<void> {
    const answer = new Promise<void>((resolve) => {
      this.answered = resolve;
    });
    this.stream.write(Buffer.alloc(0));
    await answer;
  }

  close(): void {
    this.stream.cancel();
    this.client.close();
  }
}
