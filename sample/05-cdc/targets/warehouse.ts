import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Injectable } from '@nestjs/common';
import type { OnApplicationShutdown, OnModuleInit } from '@nestjs/common';

interface Received {
  key: { id: number };
  value: { op: 'c' | 'u' | 'd' | 'r'; after: unknown };
}

/** Another system, with an HTTP server of its own: it folds the events by key into a copy of the orders. */
@Injectable()
export class Warehouse implements OnModuleInit, OnApplicationShutdown {
  private readonly copy = new Map<number, unknown>();
  private readonly server = createServer((request, response) => {
    void this.receive(request).then(() => response.writeHead(204).end());
  });

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/events`;
  }

  get rows(): readonly unknown[] {
    return [...this.copy.values()];
  }

  async onModuleInit(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
  }

  onApplicationShutdown(): void {
    this.server.close();
  }

  /** Events that come again change nothing: the last one of a key counts. */
  private async receive(request: IncomingMessage): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    for (const { key, value } of JSON.parse(body) as Received[]) {
      if (value.op === 'd') this.copy.delete(key.id);
      else this.copy.set(key.id, value.after);
    }
  }
}
