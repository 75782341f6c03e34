import type { BeforeApplicationShutdown, OnApplicationShutdown } from '@nestjs/common';
import type { HttpAdapterHost } from '@nestjs/core';
import type { HALeader } from './leader.js';

const EVERY_MS = 50;

interface HttpServer {
  closeIdleConnections?(): void;
}

/**
 * Closes the connections that other nodes keep to this one, as soon as they are idle, while the application stops. A server
 * closes those that are idle when it stops, but waits for those in use until their keep-alive has ended: 6 s with Express, 73
 * with Fastify.
 */
export class IdleConnections implements BeforeApplicationShutdown, OnApplicationShutdown {
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly leader: HALeader,
    /** Undefined in an application without HTTP. */
    private readonly host: HttpAdapterHost | undefined,
  ) {}

  beforeApplicationShutdown(): void {
    const server = this.host?.httpAdapter?.getHttpServer() as HttpServer | undefined;
    if (!this.leader.isConfigured || server?.closeIdleConnections === undefined) return;
    this.timer = setInterval(() => server.closeIdleConnections?.(), EVERY_MS).unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer);
  }
}
