import { once } from 'node:events';
import { Agent, request } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { Controller, Post, UseGuards } from '@nestjs/common';
import { LeaderGuard } from '../../../lib/leader/leader-guard.js';
import { onCleanup, until } from '../../helper/cluster.js';
import { ADAPTERS, startApp } from './apps.js';
import { FakeLeader } from './fake-leader.js';

let entered: () => void = () => undefined;
let gate: Promise<void> = Promise.resolve();

@Controller('slow')
@UseGuards(LeaderGuard)
class SlowController {
  @Post()
  async write() {
    entered();
    await gate;
    return { done: true };
  }
}

/** The server waits 5 s and more for a connection that is kept: the answer decides, and not how long it takes. */
it.each(ADAPTERS)(
  'a leader stops although others keep connections to it, in use when it stops: %s',
  async (adapter) => {
    const metadata = { controllers: [SlowController] };
    const { app, url } = await startApp(adapter, metadata, {
      leader: FakeLeader.leading(),
      options: { forceCloseConnections: false },
      isShared: true,
    });
    const server = app.getHttpServer() as Server;
    // Longer than the test may take.
    server.keepAliveTimeout = 600_000;
    const agent = new Agent({ keepAlive: true });
    onCleanup(() => agent.destroy());
    let release = (): void => undefined;
    gate = new Promise((resolve) => (release = resolve));
    const inside = new Promise<void>((resolve) => (entered = resolve));
    const outgoing = request(`${url}/slow`, { method: 'POST', agent });
    outgoing.end();
    await inside;
    const closed = app.close();
    // What is idle when the server stops to listen, it closes by itself.
    await until(() => !server.listening);
    release();
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(answer.statusCode).toBe(201);
    answer.resume();
    await closed;
  },
  30_000,
);
