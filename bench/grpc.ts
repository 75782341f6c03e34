import { Logger } from '@nestjs/common';
import { Client, Server, ServerCredentials, credentials } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js';
import { HARemoteDatabase } from '../lib/grpc/client/remote-database.js';
import { HAGrpcServer } from '../lib/grpc/server/grpc-server.js';
import type { BenchCluster } from './cluster.js';
import { CREATE_PEOPLE, insertRate, median, rate } from './measure.js';
import type { Report } from './report.js';

const PATH = '/bench.Echo/Echo';
const METHOD = { path: PATH, requestStream: true, responseStream: true } as const;
const same = (bytes: Buffer): Buffer => bytes;
const INSERT = 'INSERT INTO people(id, name, email, age) VALUES(?, ?, ?, ?)';

/** What gRPC itself costs, and what a session adds to it. */
export async function grpc(cluster: BenchCluster, url: string, report: Report, scale: number): Promise<void> {
  const { db, close } = await cluster.node('grpc.db', url);
  await db.exec(CREATE_PEOPLE);
  await db.run(INSERT, [1n, 'Some Name', 'some.name@example.com', 33n]);
  const server = new HAGrpcServer({ host: '127.0.0.1', port: 0, token: undefined }, new Logger('bench'));
  server.databases.add({ replicationID: 'bench', dsn: 'bench', path: () => undefined, database: db as never, timeout: 30_000 });
  await server.start();
  const remote = new HARemoteDatabase({ url: `http://127.0.0.1:${server.port}`, timeout: 60_000 });
  try {
    await roundTrips(remote, report, 5_000 * scale);
    let id = 1_000_000;
    const ours: number[] = [];
    const local: number[] = [];
    const total = 20_000 * scale;
    for (let round = 0; round < 3; round++) {
      local.push(await insertRate(db, (id += 1_000_000), total, 64));
      const from = (id += 1_000_000);
      ours.push(
        await rate(total, 64, (n) => remote.run(INSERT, [BigInt(from + n), 'Some Name', 'some.name@example.com', 33n])),
      );
    }
    report.rate('commits/s over gRPC, 64 sessions', median(ours), 'local, 64 writers', median(local), 0.6);
  } finally {
    await remote.close();
    await server.close();
    await close();
  }
}

async function roundTrips(remote: HARemoteDatabase, report: Report, total: number): Promise<void> {
  const echo = await Echo.start();
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
  await echo.close();
  const [value, baseline] = [median(ours), median(theirs)];
  report.cost(
    'SELECT of one row in a session, p50, µs',
    value,
    `empty echo over a stream: ${baseline.toFixed(0)} µs`,
    undefined,
  );
  report.cost('… by the echo', value / baseline, 'both over one stream', 1.5);
}

/** The median of the times that calls took one after another, µs. */
export async function times(count: number, call: () => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let n = 0; n < count; n++) {
    const started = performance.now();
    await call();
    taken.push((performance.now() - started) * 1_000);
  }
  return median(taken);
}

/** A stream that sends back what it gets. */
export class Echo {
  private answered: () => void = () => undefined;

  private constructor(
    private readonly server: Server,
    private readonly client: Client,
    private readonly stream: ClientDuplexStream<Buffer, Buffer>,
  ) {
    stream.on('data', () => this.answered());
    stream.on('error', () => undefined);
  }

  static async start(): Promise<Echo> {
    const server = new Server();
    const codec = {
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
    server.addService(
      { Echo: { ...METHOD, ...codec } },
      {
        Echo: (call: ServerDuplexStream<Buffer, Buffer>) => {
          call.on('data', (bytes: Buffer) => void call.write(bytes));
          call.on('end', () => call.end());
        },
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, taken) =>
        error === null ? resolve(taken) : reject(error),
      );
    });
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    return new Echo(server, client, client.makeBidiStreamRequest(PATH, same, same));
  }

  async ask(size = 0): Promise<void> {
    const answer = new Promise<void>((resolve) => (this.answered = resolve));
    this.stream.write(Buffer.alloc(size));
    await answer;
  }

  async close(): Promise<void> {
    this.stream.cancel();
    this.client.close();
    this.server.forceShutdown();
  }
}
