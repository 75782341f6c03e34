import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'nats';
import type { NatsConnection } from 'nats';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { JetStreamStream } from '../../lib/stream/jetstream/jetstream-stream.js';
import { MemoryBroker } from '../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import type { ReplicationStream } from '../../lib/stream/replication-stream.js';

/** What the contract tests need of an implementation. */
export interface Backend {
  readonly name: string;
  start(): Promise<void>;
  end(): Promise<void>;
  make(stream: string, subject: string): ReplicationStream;
  /** Removes all messages up to a sequence, that included. */
  trim(stream: string, toSequence: number): Promise<void>;
  /** Stores a message as go-ha does, without headers. */
  foreign(subject: string, data: string): Promise<void>;
  /** Cuts the connection of these streams; returns the function that restores it. */
  cut(streams: readonly ReplicationStream[]): Promise<() => Promise<void>>;
}

/** Waits until a condition holds. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await holds()); await sleep(10)) {
    if (Date.now() > deadline) throw new Error('It did not come true within 30 s.');
  }
}

export function memoryBackend(): Backend {
  const broker = new MemoryBroker();
  return {
    name: 'MemoryStream',
    start: async () => undefined,
    end: async () => undefined,
    make: (stream, subject) => new MemoryStream({ broker, stream, subject }),
    trim: async (stream, toSequence) => broker.trim(toSequence, stream),
    foreign: async (subject, data) => {
      const message = { subject, data: Buffer.from(data), id: undefined, version: undefined, chunk: undefined };
      broker.append(message, subject.split('.')[0]);
    },
    cut: async (streams) => {
      for (const stream of streams as readonly MemoryStream[]) stream.disconnect();
      return async () => {
        for (const stream of streams as readonly MemoryStream[]) void stream.connect();
      };
    },
  };
}

/** A real server, and an administrator's connection to it. */
export class JetStreamBackend implements Backend {
  readonly name = 'JetStreamStream';
  private root = '';
  private server: EmbeddedNatsServer | undefined;
  private admin: NatsConnection | undefined;

  async start(): Promise<void> {
    this.root = await mkdtemp(join(tmpdir(), 'stream-contract-'));
    this.server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: this.root });
    this.admin = await connect({ servers: this.server.url, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
  }

  async end(): Promise<void> {
    await this.admin?.close();
    await this.server?.release();
    await rm(this.root, { recursive: true, force: true });
  }

  get url(): string {
    return this.started.url;
  }

  /** The administrator's connection. */
  get connection(): NatsConnection {
    if (this.admin === undefined) throw new Error('The backend was not started.');
    return this.admin;
  }

  make(stream: string, subject: string): JetStreamStream {
    return new JetStreamStream({
      access: { servers: [this.url], name: 'contract' },
      stream,
      subject,
      replicas: 1,
      maxAge: undefined,
      warn: () => undefined,
    });
  }

  async trim(stream: string, toSequence: number): Promise<void> {
    const manager = await this.connection.jetstreamManager();
    await manager.streams.purge(stream, { seq: toSequence + 1 });
  }

  async foreign(subject: string, data: string): Promise<void> {
    await this.connection.jetstream().publish(subject, data);
  }

  /** Kills the server, which is restarted by itself. */
  async cut(streams: readonly ReplicationStream[]): Promise<() => Promise<void>> {
    process.kill(this.started.pid, 'SIGKILL');
    await until(() => streams.every((stream) => !stream.isConnected));
    return async () => {
      await until(() => streams.every((stream) => stream.isConnected));
      const answers = (): Promise<boolean> =>
        this.connection.flush().then(
          () => true,
          () => false,
        );
      await until(answers);
    };
  }

  private get started(): EmbeddedNatsServer {
    if (this.server === undefined) throw new Error('The backend was not started.');
    return this.server;
  }
}
