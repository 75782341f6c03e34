import type { ResolvedHAOptions } from '../config/resolved.js';
import { EmbeddedNatsServer } from './embedded/server.js';
import type { NatsAccess } from './jetstream/connect-options.js';
import { JetStreamStream } from './jetstream/jetstream-stream.js';
import type { ReplicationStream } from './replication-stream.js';

/** Opens the stream that the options describe: on servers of the user's, or on one that runs beside the application. */
export class StreamSource {
  private server: EmbeddedNatsServer | undefined;
  private stream: ReplicationStream | undefined;

  constructor(
    private readonly options: ResolvedHAOptions,
    private readonly warn: (line: string) => void,
    private readonly given: ReplicationStream | undefined,
  ) {}

  /** The IP address that the server sees this node at, as far as it is known. */
  get address(): string | undefined {
    return this.stream?.address;
  }

  async open(subject: string): Promise<ReplicationStream> {
    const stream = this.given ?? (await this.jetStream(subject));
    await stream.open();
    this.stream = stream;
    return stream;
  }

  /** Disconnects, and stops the embedded server where nobody else uses it. */
  async close(): Promise<void> {
    await this.stream?.close();
    this.stream = undefined;
    await this.server?.release();
    this.server = undefined;
  }

  private async jetStream(subject: string): Promise<ReplicationStream> {
    const { options } = this;
    if (options.mode === 'embedded') this.server ??= await EmbeddedNatsServer.acquire(embeddedSettings(options));
    return new JetStreamStream({
      access: this.server === undefined ? externalAccess(options) : embeddedAccess(options, this.server),
      stream: options.replicationStream,
      subject,
      replicas: options.replicas,
      maxAge: options.streamMaxAge,
      maxBytes: options.streamMaxBytes,
      warn: this.warn,
    });
  }
}

function externalAccess(options: ResolvedHAOptions): NatsAccess {
  return {
    servers: options.replicationURL,
    name: `nestjs-ha ${options.name}`,
    token: options.replicationToken,
    creds: options.replicationCreds,
    tls: { ca: options.replicationTlsCa, cert: options.replicationTlsCert, key: options.replicationTlsKey },
  };
}

function embeddedAccess(options: ResolvedHAOptions, server: EmbeddedNatsServer): NatsAccess {
  return {
    servers: [server.url],
    name: `nestjs-ha ${options.name}`,
    user: server.user ?? options.natsUser,
    pass: server.pass ?? options.natsPass,
  };
}

function embeddedSettings(options: ResolvedHAOptions): Parameters<typeof EmbeddedNatsServer.acquire>[0] {
  return {
    port: options.natsPort,
    host: options.natsHost,
    ...(options.natsStoreDir === undefined ? {} : { storeDir: options.natsStoreDir }),
    ...(options.natsName === undefined ? {} : { name: options.natsName }),
    ...(options.natsUser === undefined ? {} : { user: options.natsUser }),
    ...(options.natsPass === undefined ? {} : { pass: options.natsPass }),
    ...(options.natsMaxPayload === undefined ? {} : { maxPayload: options.natsMaxPayload }),
    ...(options.natsConfigFile === undefined ? {} : { configFile: options.natsConfigFile }),
    ...(options.natsServer === undefined ? {} : { binary: options.natsServer }),
    syncInterval: options.natsSyncInterval === 0 ? 'always' : `${options.natsSyncInterval}ms`,
  };
}
