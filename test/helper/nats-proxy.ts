import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/** A TCP proxy in front of a NATS server, or of another one: tests cut the line, or let requests through while their answers are lost. */
export class NatsProxy {
  private readonly pairs = new Set<readonly [Socket, Socket]>();
  private refusing = false;
  private readonly silent = new Set<Socket>();
  private mute = false;
  private deaf = false;

  private constructor(
    private readonly server: Server,
    private readonly target: URL,
  ) {
    server.on('connection', (client) => this.join(client));
  }

  static async start(target: string): Promise<NatsProxy> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new NatsProxy(server, new URL(target));
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Breaks all connections, and refuses new ones until {@link restore}. */
  cut(): void {
    this.refusing = true;
    for (const pair of this.pairs) for (const socket of pair) socket.destroy();
  }

  /** What the server says no longer arrives; what clients say still does. */
  muteServer(): void {
    this.mute = true;
  }

  /** What clients say no longer arrives; they are not told. */
  muteClients(): void {
    this.deaf = true;
  }

  /** Connections that are there now carry nothing any more, and nobody is told; new ones do. */
  silence(): void {
    for (const [client] of this.pairs) this.silent.add(client);
  }

  restore(): void {
    this.refusing = false;
    this.deaf = false;
    this.mute = false;
  }

  async close(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }

  private join(client: Socket): void {
    if (this.refusing) {
      client.destroy();
      return;
    }
    const upstream = connect(Number(this.target.port), this.target.hostname);
    const pair = [client, upstream] as const;
    this.pairs.add(pair);
    const end = (): void => {
      this.pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
    client.on('data', (data) => {
      if (!this.deaf && !this.silent.has(client)) upstream.write(data);
    });
    upstream.on('data', (data) => {
      if (!this.mute && !this.silent.has(client)) client.write(data);
    });
  }
}
