import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Body, Catch, Controller, Delete, Get, Injectable, Post, Put, UseGuards } from '@nestjs/common';
import type { ArgumentsHost, CallHandler, ExceptionFilter, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, BaseExceptionFilter } from '@nestjs/core';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { HALeaderException } from '../../../lib/leader/forward/leader-exception.js';
import { LeaderGuard } from '../../../lib/leader/leader-guard.js';
import { ReadOnly, WriteMethods } from '../../../lib/leader/write-methods.js';
import { onCleanup, until } from '../../helper/cluster.js';
import { ADAPTERS, startApp } from './apps.js';
import type { AppSettings } from './apps.js';
import { json, open, send } from './client.js';
import { FakeLeader } from './fake-leader.js';

const POST = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
const UPLOAD = { 'content-type': 'application/octet-stream' };

@Controller('here')
@UseGuards(LeaderGuard)
class HereController {
  @Post()
  write(@Body() body: unknown) {
    return { here: true, body };
  }

  @Put()
  replace(@Body() body: unknown) {
    return { here: true, body };
  }

  @Delete()
  remove() {
    return { here: true };
  }

  @Get()
  read() {
    return { here: true };
  }
}

/** A leader that does what a test says. */
async function bareLeader(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; server: Server; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, requests };
}

async function closedPort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `http://127.0.0.1:${port}`;
}

function echo(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const { method, url, headers } = request;
    const body = Buffer.concat(chunks).toString();
    response.end(JSON.stringify({ method, url, headers, body, rawHeaders: request.rawHeaders }));
  });
}

describe.each(ADAPTERS)('%s', (adapter) => {
  const follower = (leader: FakeLeader, settings: AppSettings = {}) =>
    startApp(adapter, { controllers: [HereController] }, { leader, ...settings });

  it('passes on the leader, and where there is no leader at all', async () => {
    const leading = await follower(FakeLeader.leading());
    expect(json(await send(`${leading.url}/here?forward=false`, POST))).toEqual({ here: true, body: { a: 1 } });
    const leaderless = await startApp(adapter, { controllers: [HereController] });
    expect(json(await send(`${leaderless.url}/here`, POST))).toEqual({ here: true, body: { a: 1 } });
  });

  it('passes where the leader is reached over gRPC alone: the database writes there', async () => {
    const { url } = await follower(
      new FakeLeader({ isLeader: false, target: { text: 'host:5001', grpc: 'host:5001' } }),
    );
    expect(json(await send(`${url}/here`, POST))).toEqual({ here: true, body: { a: 1 } });
  });

  it.each([
    ['false', 307],
    ['301', 301],
    ['308', 308],
  ])('?forward=%s answers %i with the whole URL at the leader', async (value, status) => {
    const { url } = await follower(FakeLeader.following('https://leader.test:8443/base/'));
    const path = `/here?a=1&forward=${value}&b=%20x%2F`;
    const answer = await send(url + path, POST);
    expect(answer).toMatchObject({
      status,
      headers: {
        location: `https://leader.test:8443/base${path}`,
        'cache-control': 'no-store',
        'content-length': '0',
      },
    });
  });

  it('keeps the fields of CORS in a redirect', async () => {
    const prepare: AppSettings['prepare'] = (app) => app.enableCors({ origin: true });
    const { url } = await follower(FakeLeader.following('http://leader.test'), { prepare });
    const answer = await send(`${url}/here?forward=false`, { ...POST, headers: { origin: 'http://a.test' } });
    expect(answer.headers['access-control-allow-origin']).toBe('http://a.test');
  });

  it('tells the leader who asked, and leaves out what belongs to one connection', async () => {
    const leader = await bareLeader(echo);
    const { url } = await follower(FakeLeader.following(`${leader.url}/base`), { database: { name: 'node=2' } });
    const headers = {
      ...POST.headers,
      host: 'shop.test',
      connection: 'close, X-Secret',
      'x-secret': '1',
      'keep-alive': 'timeout=9',
      te: 'trailers',
      'proxy-authorization': 'Basic x',
      'x-forwarded-for': '10.1.1.1',
      'x-many': ['1', '2'],
      authorization: 'Bearer t',
    };
    const answer = json(await send(`${url}/here?x=1`, { ...POST, headers }));
    expect(answer).toMatchObject({ method: 'POST', url: '/base/here?x=1', body: '{"a":1}' });
    const { headers: got, rawHeaders } = answer as { headers: Record<string, string>; rawHeaders: string[] };
    expect(got).toMatchObject({
      host: new URL(leader.url).host,
      'x-forwarded-for': '10.1.1.1, 127.0.0.1',
      'x-forwarded-host': 'shop.test',
      'x-forwarded-proto': 'http',
      'x-ha-forwarded-by': 'node%3D2',
      authorization: 'Bearer t',
    });
    expect(rawHeaders.filter((name) => name.toLowerCase() === 'x-many')).toHaveLength(2);
    expect(Object.keys(got)).not.toEqual(expect.arrayContaining(['x-secret']));
    for (const name of ['x-secret', 'keep-alive', 'te', 'proxy-authorization']) expect(got).not.toHaveProperty(name);
  });

  it('takes only path and query of a request line that holds a whole URL', async () => {
    const leader = await bareLeader(echo);
    const { url } = await follower(FakeLeader.following(leader.url));
    const { hostname, port } = new URL(url);
    const outgoing = request({ hostname, port, method: 'POST', path: 'http://evil.test/here?a=1', agent: false });
    outgoing.end();
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    answer.resume();
    expect([404, 200]).toContain(answer.statusCode);
    for (const { url: path } of leader.requests) expect(path).toBe('/here?a=1');
  });

  it('never lets the body of a request pass for another request', async () => {
    const leader = await bareLeader(echo);
    const { url } = await follower(FakeLeader.following(leader.url));
    const body = 'POST /admin HTTP/1.1\r\nHost: leader\r\nContent-Length: 0\r\n\r\n';
    // Node frames the body of a DELETE only where it is told to.
    const headers = { 'content-type': 'text/plain', 'transfer-encoding': 'chunked' };
    const answer = json(await send(`${url}/here`, { method: 'DELETE', headers, body: Readable.from([body]) }));
    expect(answer).toMatchObject({ method: 'DELETE', url: '/here', body });
    await send(`${url}/here`, POST);
    expect(leader.requests.map(({ method, url: path }) => `${method} ${path}`)).toEqual(['DELETE /here', 'POST /here']);
  });

  it('answers 508 behind one hop: two nodes that take each other for the leader', async () => {
    const [one, two] = [new FakeLeader(), new FakeLeader()];
    const [first, second] = [await follower(one), await follower(two)];
    one.changes.next({ isLeader: false, target: { text: second.url, http: second.url } });
    two.changes.next({ isLeader: false, target: { text: first.url, http: first.url } });
    const answer = await send(`${first.url}/here`, POST);
    expect(answer.status).toBe(508);
    expect(json(answer)).toMatchObject({ statusCode: 508, code: 'HA_LEADER_LOOP', retryable: true });
  });

  describe('without a leader', () => {
    it('answers 503 with Retry-After', async () => {
      const { url } = await follower(new FakeLeader());
      const answer = await send(`${url}/here`, POST);
      expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
      expect(json(answer)).toMatchObject({ statusCode: 503, code: 'HA_LEADER_UNKNOWN', retryable: true });
      expect(json(await send(`${url}/here`))).toEqual({ here: true });
    });

    it('waits a moment: this node may become it', async () => {
      const leader = new FakeLeader();
      const { url } = await follower(leader);
      const answer = send(`${url}/here`, POST);
      setTimeout(() => leader.changes.next({ isLeader: true }), 100);
      expect(json(await answer)).toEqual({ here: true, body: { a: 1 } });
    });

    it('waits a moment: another may become it', async () => {
      const leader = new FakeLeader();
      const other = await bareLeader(echo);
      const { url } = await follower(leader);
      const answer = send(`${url}/here`, POST);
      setTimeout(() => leader.changes.next({ isLeader: false, target: { text: 'x', http: other.url } }), 100);
      expect(json(await answer)).toMatchObject({ body: '{"a":1}' });
    });
  });

  describe('where the leader does not take connections', () => {
    it('answers 503 with Retry-After: nothing was done', async () => {
      const { url } = await follower(FakeLeader.following(await closedPort()));
      const answer = await send(`${url}/here`, POST);
      expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
      expect(json(answer)).toMatchObject({ code: 'HA_LEADER_UNREACHABLE', retryable: true });
    });

    it('sends a body that flows to the next leader, whole', async () => {
      const leader = FakeLeader.following(await closedPort());
      const next = await bareLeader(echo);
      const { url } = await follower(leader, { prepare: passThrough(adapter) });
      const answer = send(`${url}/here`, { method: 'POST', headers: UPLOAD, body: 'x'.repeat(200_000) });
      setTimeout(() => leader.changes.next({ isLeader: false, target: { text: 'next', http: next.url } }), 200);
      expect(json(await answer)).toMatchObject({ body: 'x'.repeat(200_000) });
    });
  });

  describe('where the leader is silent', () => {
    const database = { forwardTimeout: 1_500 };

    it('answers 504', async () => {
      const leader = await bareLeader(() => undefined);
      const { url } = await follower(FakeLeader.following(leader.url), { database });
      const answer = await send(`${url}/here`, POST);
      expect(answer.status).toBe(504);
      expect(json(answer)).toMatchObject({ code: 'HA_FORWARD_TIMEOUT', retryable: false });
      expect(json(await send(`${url}/here`, { ...POST, method: 'PUT' }))).toMatchObject({ retryable: true });
    });

    it('has all the time for a client that is slow itself, and for an answer that has begun', async () => {
      const leader = await bareLeader((request, response) => {
        request.resume();
        request.on('end', () => {
          response.write('begun ');
          setTimeout(() => response.end('ended'), 3_000);
        });
      });
      const { url } = await follower(FakeLeader.following(leader.url), { database, prepare: passThrough(adapter) });
      const body = new PassThrough();
      body.write('first');
      setTimeout(() => body.end('last'), 3_000);
      const answer = await send(`${url}/here`, { method: 'POST', headers: UPLOAD, body });
      expect(answer).toMatchObject({ status: 200, body: Buffer.from('begun ended') });
    });
  });

  describe('where the leader dies', () => {
    it('in front of its answer: 502, and whether it was done is not known', async () => {
      const leader = await bareLeader((request) => request.socket.destroy());
      const { url } = await follower(FakeLeader.following(leader.url));
      const answer = await send(`${url}/here`, POST);
      expect(answer.status).toBe(502);
      expect(json(answer)).toMatchObject({ code: 'HA_FORWARD_UNKNOWN', retryable: false });
      expect(json(await send(`${url}/here`, { ...POST, method: 'PUT' }))).toMatchObject({ retryable: true });
    });

    it('in the middle of its answer: the client never takes half of it for the whole', async () => {
      for (const fields of [{ 'Content-Length': '100' }, {}]) {
        const leader = await bareLeader((_request, response) => {
          response.writeHead(200, fields);
          response.write('half');
          setTimeout(() => response.destroy(), 50);
        });
        const { url } = await follower(FakeLeader.following(leader.url));
        await expect(send(`${url}/here`, POST)).rejects.toMatchObject({ code: 'ECONNRESET' });
      }
    });
  });

  describe('where the client goes', () => {
    it('before the answer: the leader learns of it', async () => {
      let gone = false;
      const leader = await bareLeader((_request, response) => response.once('close', () => (gone = true)));
      const { url } = await follower(FakeLeader.following(leader.url));
      const outgoing = request(`${url}/here`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        agent: false,
      });
      outgoing.on('error', () => undefined);
      outgoing.end('{}');
      await until(() => leader.requests.length === 1);
      outgoing.destroy();
      await until(() => gone);
    });

    it('in the middle of the answer, or of its own body', async () => {
      let gone = 0;
      const leader = await bareLeader((_request, response) => {
        response.once('close', () => gone++);
        response.write('begun');
      });
      const { url } = await follower(FakeLeader.following(leader.url), { prepare: passThrough(adapter) });
      const answer = await open(`${url}/here`, POST);
      await once(answer, 'data');
      answer.destroy();
      await until(() => gone === 1);
      const body = new PassThrough();
      body.write('begun');
      const outgoing = request(`${url}/here`, { method: 'POST', headers: UPLOAD, agent: false });
      outgoing.on('error', () => undefined);
      body.pipe(outgoing);
      await until(() => leader.requests.length === 2);
      outgoing.destroy();
      await until(() => gone === 2);
    });
  });

  it('answers an early refusal by the leader while the client still sends', async () => {
    const leader = await bareLeader((_request, response) => response.writeHead(413).end('too much'));
    const { url } = await follower(FakeLeader.following(leader.url), { prepare: passThrough(adapter) });
    const body = new PassThrough();
    body.write('begun');
    const answer = await open(`${url}/here`, { method: 'POST', headers: UPLOAD, body });
    expect(answer.statusCode).toBe(413);
    answer.destroy();
  });

  it('lets events through one by one, and the head before the first of them', async () => {
    let response: ServerResponse | undefined;
    const leader = await bareLeader((_request, given) => {
      response = given;
      given.writeHead(200, { 'Content-Type': 'text/event-stream' });
      given.flushHeaders();
    });
    const { url } = await follower(FakeLeader.following(leader.url));
    const answer = await open(`${url}/here`, POST);
    expect(answer.headers['content-type']).toBe('text/event-stream');
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      response?.write(event);
      const [chunk] = (await once(answer, 'data')) as [Buffer];
      expect(chunk.toString()).toBe(event);
    }
    answer.destroy();
  });

  it('keeps its connections, to the leader and to the client', async () => {
    const leader = await bareLeader(echo);
    let toLeader = 0;
    leader.server.on('connection', () => toLeader++);
    let toFollower = 0;
    const { app, url } = await follower(FakeLeader.following(leader.url));
    (app.getHttpServer() as Server).on('connection', () => toFollower++);
    const agent = new Agent({ keepAlive: true });
    onCleanup(() => agent.destroy());
    for (let i = 0; i < 20; i++) {
      const outgoing = request(`${url}/here`, { method: 'POST', headers: POST.headers, agent });
      outgoing.end(POST.body);
      const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
      answer.resume();
      await once(answer, 'end');
    }
    expect([toLeader, toFollower]).toEqual([1, 1]);
  });

  it('carries 100 MB both ways without holding them', async () => {
    const leader = await bareLeader((request, response) => void request.pipe(response));
    const { url } = await follower(FakeLeader.following(leader.url), { prepare: passThrough(adapter) });
    const total = 100 * 1024 * 1024;
    const piece = Buffer.alloc(64 * 1024, 7);
    async function* pieces() {
      for (let sent = 0; sent < total; sent += piece.length) yield piece;
    }
    const before = heldBytes();
    let most = 0;
    let received = 0;
    let measured = 0;
    const answer = await open(`${url}/here`, { method: 'POST', headers: UPLOAD, body: Readable.from(pieces()) });
    for await (const chunk of answer) {
      received += (chunk as Buffer).length;
      if (received - measured < 8 * 1024 * 1024) continue;
      measured = received;
      most = Math.max(most, heldBytes() - before);
    }
    expect(received).toBe(total);
    // Leader, follower and client together, and what is being swept; a follower that gathers holds 100 MB and more.
    expect(most).toBeLessThan(60 * 1024 * 1024);
  });

  it('does not touch filters and interceptors of the application, but where it has to say no', async () => {
    const seen: string[] = [];
    @Catch()
    class Everything extends BaseExceptionFilter implements ExceptionFilter {
      override catch(error: unknown, host: ArgumentsHost): void {
        seen.push(error instanceof HALeaderException ? error.code : String(error));
        // oxlint-disable-next-line promise/valid-params, promise/no-promise-in-callback -- it is no promise
        super.catch(error, host);
      }
    }
    @Injectable()
    class Timing implements NestInterceptor {
      intercept(_context: ExecutionContext, next: CallHandler) {
        seen.push('interceptor');
        return next.handle();
      }
    }
    const leader = await bareLeader(echo);
    const leadership = FakeLeader.following(leader.url);
    const { url } = await startApp(
      adapter,
      {
        controllers: [HereController],
        providers: [
          { provide: APP_FILTER, useClass: Everything },
          { provide: APP_INTERCEPTOR, useClass: Timing },
        ],
      },
      { leader: leadership },
    );
    expect((await send(`${url}/here`, POST)).status).toBe(200);
    expect(seen).toEqual([]);
    leadership.changes.next({ isLeader: false });
    expect(await send(`${url}/here`, POST)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect(seen).toEqual(['HA_LEADER_UNKNOWN']);
    leadership.changes.next({ isLeader: true });
    expect((await send(`${url}/here`, POST)).status).toBe(201);
    expect(seen).toEqual(['HA_LEADER_UNKNOWN', 'interceptor']);
  });

  it('guards all routes as a global guard, and Swagger describes them', async () => {
    const leader = await bareLeader(echo);
    @Controller('plain')
    class PlainController {
      @Post()
      write() {
        return { here: true };
      }
    }
    const { app, url } = await startApp(
      adapter,
      { controllers: [PlainController, HereController], providers: [{ provide: APP_GUARD, useExisting: LeaderGuard }] },
      { leader: FakeLeader.following(leader.url) },
    );
    expect(json(await send(`${url}/plain`, POST))).toMatchObject({ url: '/plain' });
    const document = SwaggerModule.createDocument(app, new DocumentBuilder().build());
    expect(Object.keys(document.paths['/here'] ?? {}).sort()).toEqual(['delete', 'get', 'post', 'put']);
  });

  it('asks the database that a route belongs to', async () => {
    @Controller('orders')
    @UseGuards(LeaderGuard.for('orders'))
    class OrdersController {
      @Post()
      write() {
        return { here: true };
      }
    }
    expect(LeaderGuard.for('orders')).toBe(LeaderGuard.for('orders'));
    const leader = await bareLeader(echo);
    const { url } = await startApp(
      adapter,
      { controllers: [OrdersController] },
      { leader: FakeLeader.following(leader.url), database: { connection: 'orders' } },
    );
    expect(json(await send(`${url}/orders`, POST))).toMatchObject({ url: '/orders' });
  });

  it('goes by @WriteMethods and @ReadOnly, those of a route before those of its controller', async () => {
    @Controller('a')
    @UseGuards(LeaderGuard)
    @WriteMethods('get', 'DELETE')
    class FirstController {
      @Get()
      visit() {
        return 'here';
      }

      @Post()
      search() {
        return 'here';
      }

      @Put()
      @WriteMethods()
      everything() {
        return 'here';
      }

      @Get('quiet')
      @ReadOnly()
      quiet() {
        return 'here';
      }
    }
    const leader = await bareLeader((_request, response) => response.end('there'));
    const { url } = await startApp(
      adapter,
      { controllers: [FirstController] },
      { leader: FakeLeader.following(leader.url) },
    );
    const where = async (method: string, path = '') => (await send(`${url}/a${path}`, { method })).body.toString();
    expect(await where('GET')).toBe('there');
    expect(await where('POST')).toBe('here');
    expect(await where('PUT')).toBe('there');
    expect(await where('GET', '/quiet')).toBe('here');
  });

  it('says what to do where the body was read before', async () => {
    const leader = await bareLeader(echo);
    const { url } = await follower(FakeLeader.following(leader.url), { prepare: readingEverything(adapter) });
    const headers = { 'content-type': 'multipart/form-data; boundary=x' };
    const answer = await send(`${url}/here`, { method: 'POST', headers, body: '--x\r\n\r\n--x--\r\n' });
    expect(answer.status).toBe(500);
    expect(json(answer)).toMatchObject({ code: 'HA_FORWARD_BODY', message: expect.stringContaining('rawBody: true') });
    expect(leader.requests).toEqual([]);
  });

  it('does not wait for a client that waits for 100 Continue', async () => {
    const leader = await bareLeader(echo);
    const { url } = await follower(FakeLeader.following(leader.url));
    const outgoing = request(`${url}/here`, {
      method: 'POST',
      headers: { ...POST.headers, expect: '100-continue' },
      agent: false,
    });
    outgoing.once('continue', () => outgoing.end(POST.body));
    outgoing.flushHeaders();
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(answer.statusCode).toBe(200);
    answer.resume();
  });
});

interface Fastify {
  addContentTypeParser(
    type: string,
    parser: (request: unknown, payload: AsyncIterable<Buffer>, done: (error: null) => void) => void,
  ): void;
}

/** Bytes in buffers that somebody still has. */
function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().arrayBuffers;
}

/** Fastify refuses types that it has no parser for. */
function passThrough(adapter: string): NonNullable<AppSettings['prepare']> {
  return (app) => {
    if (adapter !== 'fastify') return;
    const fastify = app.getHttpAdapter().getInstance() as Fastify;
    fastify.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null));
  };
}

/** Something of the application that reads every body in front of guards. */
function readingEverything(adapter: string): NonNullable<AppSettings['prepare']> {
  return (app) => {
    if (adapter === 'express') {
      app.use(async (request: IncomingMessage, _response: unknown, next: () => void) => {
        for await (const _ of request);
        next();
      });
      return;
    }
    const fastify = app.getHttpAdapter().getInstance() as Fastify;
    fastify.addContentTypeParser('multipart/form-data', (_request, payload, done) => {
      void (async () => {
        for await (const _ of payload);
        done(null);
      })();
    });
  };
}
