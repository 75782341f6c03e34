import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/**
 * How a line behaves. `cut`: connections are reset and refused. `freeze`: they stay, but no byte passes, in both
 * directions or in one; what was sent arrives when the line is whole again. `slow`: every chunk waits, in order.
 */
export type LineMode = 'open' | 'cut' | 'freeze' | 'freeze-up' | 'freeze-down' | 'slow';

const SLOW_MS = 25;

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/** A TCP proxy between a node and a server, on which lines break in all the ways that lines break. */
export class LineProxy {
  private mode: LineMode = 'open';
  private readonly pairs = new Set<Pair>();

  private constructor(
    private readonly listener: Server,
    private readonly target: number,
  ) {}

  static async start(target: number): Promise<LineProxy> {
    const listener = createServer({ allowHalfOpen: false });
    const proxy = new LineProxy(listener, target);
    listener.on('connection', (client) => proxy.accept(client));
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return proxy;
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.listener.address() as AddressInfo).port}`;
  }

  set(mode: LineMode): void {
    this.mode = mode;
    if (mode === 'cut') this.reset();
    for (const pair of this.pairs) this.wake(pair);
  }

  /** Ends all connections, as a router does that forgot them. */
  reset(): void {
    for (const { client, server } of this.pairs) {
      client.destroy();
      server.destroy();
    }
    this.pairs.clear();
  }

  async close(): Promise<void> {
    this.reset();
    this.listener.close();
    await once(this.listener, 'close');
  }

  private accept(client: Socket): void {
    if (this.mode === 'cut') {
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return;
    }
    const server = connect(this.target, '127.0.0.1');
    const pair = { client, server };
    this.pairs.add(pair);
    const end = (): void => {
      client.destroy();
      server.destroy();
      this.pairs.delete(pair);
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', end).on('close', end);
    }
    this.carry(client, server, 'freeze-up');
    this.carry(server, client, 'freeze-down');
    this.wake(pair);
  }

  private carry(from: Socket, to: Socket, frozenBy: LineMode): void {
    from.on('data', (chunk) => {
      if (to.destroyed) return;
      const wait = !to.write(chunk);
      const isSlow = this.mode === 'slow';
      if (!wait && !isSlow) return;
      from.pause();
      const resume = (): void => {
        if (this.mode !== 'freeze' && this.mode !== frozenBy) from.resume();
      };
      if (isSlow) setTimeout(resume, SLOW_MS);
      else to.once('drain', resume);
    });
  }

  private wake({ client, server }: Pair): void {
    const { mode } = this;
    for (const [socket, frozenBy] of [
      [client, 'freeze-up'],
      [server, 'freeze-down'],
    ] as const) {
      if (mode === 'freeze' || mode === frozenBy) socket.pause();
      else socket.resume();
    }
  }
}
