import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import type { INestApplication } from '@nestjs/common';
import { VersioningType } from '@nestjs/common';
import { ADAPTERS, startApp } from './apps.js';
import type { AdapterName, StartedApp } from './apps.js';
import { json, send } from './client.js';
import type { Answer, Sent } from './client.js';
import { FakeLeader } from './fake-leader.js';
import { NAME, sha, thingsFor } from './things.js';

interface Kind extends Omit<Sent, 'body'> {
  readonly name: string;
  readonly path: string;
  readonly body?: () => Sent['body'];
  /** What the leader has to answer; in both cases, so that two equal failures do not count. */
  readonly status: number | Readonly<Record<AdapterName, number>>;
}

const JSON_TYPE = { 'content-type': 'application/json' };
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' };

const boundary = 'xxBOUNDARYxx';
const multipart = Buffer.concat([
  Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="title"\r\n\r\nZoë\r\n`),
  Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n`,
  ),
  Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) % 256)),
  Buffer.from(`\r\n--${boundary}--\r\n`),
]);

function post(
  name: string,
  path: string,
  headers: Sent['headers'],
  body: () => Sent['body'],
  status: Kind['status'] = 201,
): Kind {
  return { name, path, method: 'POST', headers: headers ?? {}, body, status };
}

const KINDS: readonly Kind[] = [
  post('JSON', '?a=1&a=2&b=%20x', JSON_TYPE, () => '{"a":[1,2.5,-0,1e999,{"b":null}],"ü":"\\ud800 \\u0000 😀"}'),
  post('JSON in chunks', '', JSON_TYPE, () => Readable.from([Buffer.from('{"a":'), Buffer.from('1}')])),
  post('JSON, gzip', '', { ...JSON_TYPE, 'content-encoding': 'gzip' }, () => gzipSync('{"a":"zipped"}'), {
    express: 201,
    fastify: 400,
  }),
  post('JSON, malformed', '', JSON_TYPE, () => '{"a":', 400),
  post('JSON, empty', '', { ...JSON_TYPE, 'content-length': 0 }, () => undefined, { express: 201, fastify: 400 }),
  post('JSON with a name that some parsers refuse', '', JSON_TYPE, () => '{"__proto__":{"x":1}}', {
    express: 201,
    fastify: 400,
  }),
  post('no body at all', '', {}, () => undefined),
  post('a form', '', FORM_TYPE, () => 'a=1&b=x+y%26z&c='),
  post('a form with lists and objects', '', FORM_TYPE, () => 'a[]=1&b[x][y]=2&b[x][z]=3&c=1&c=2&d[0][e]=1&d[1][e]=2'),
  post('what validation refuses', '/checked', JSON_TYPE, () => '{"name":1,"more":true}', 400),
  post('what validation takes', '/checked', JSON_TYPE, () => '{"name":"n","amount":3}'),
  post('multipart', '/file', { 'content-type': `multipart/form-data; boundary=${boundary}` }, () => multipart),
  post('multipart in chunks', '/file', { 'content-type': `multipart/form-data; boundary=${boundary}` }, () =>
    Readable.from([multipart.subarray(0, 100), multipart.subarray(100)]),
  ),
  post('bytes in chunks', '/bytes', { 'content-type': 'application/octet-stream' }, () =>
    Readable.from([Buffer.alloc(70_000, 1), Buffer.alloc(3, 2)]),
  ),
  post('bytes, gzip', '/bytes', { 'content-type': 'application/octet-stream', 'content-encoding': 'gzip' }, () =>
    gzipSync('bytes'),
  ),
  post('an answer in gzip', '/zipped', { 'accept-encoding': 'gzip' }, () => undefined),
  post('two cookies', '/cookies', { cookie: 'x=1; y=2' }, () => undefined),
  post('fields of its own', '', { ...JSON_TYPE, 'X-Own': ['a', 'b'] }, () => '{}'),
  ...[400, 401, 403, 404, 409, 422, 429, 500, 501, 503].map((status) =>
    post(`status ${status}`, `/status/${status}`, {}, () => undefined, status),
  ),
  post('a bug', '/crash', {}, () => undefined, 500),
  post('a parameter that a pipe refuses', '/status/abc', {}, () => undefined, 400),
  post('a redirect', '/moved', {}, () => undefined, 303),
  { name: 'PUT', path: '/a%2Fb%20c', method: 'PUT', headers: JSON_TYPE, body: () => '{"v":1}', status: 200 },
  { name: 'DELETE without content', path: '/1', method: 'DELETE', status: 204 },
  { name: 'DELETE with content', path: '/2', method: 'DELETE', status: 200 },
  { name: 'GET that writes', path: '/visit', status: 200 },
  { name: 'HEAD of a GET that writes', path: '/visit', method: 'HEAD', status: 200 },
  { name: 'server-sent events', path: '/events', status: 200 },
  { name: 'a path that nobody has', path: '/no/such', method: 'POST', status: 404 },
];

/** What belongs to one connection, or to the clock. */
const NOT_COMPARED = ['date', 'connection', 'keep-alive', 'transfer-encoding'];

function comparable({ status, reason, headers, body }: Answer) {
  const fields = Object.entries(headers).filter(([name]) => !NOT_COMPARED.includes(name));
  return { status, reason, headers: Object.fromEntries(fields), body: body.toString('latin1') };
}

/** What applications have in front of their controllers. */
function furnish(adapter: AdapterName): (app: INestApplication) => void {
  return (app) => {
    app.setGlobalPrefix('api');
    app.enableVersioning({ type: VersioningType.URI, defaultVersion: '2' });
    app.enableCors({ origin: true, credentials: true });
    app.use((_request: unknown, response: { setHeader(name: string, value: string): void }, next: () => void) => {
      response.setHeader('Strict-Transport-Security', 'max-age=1');
      response.setHeader('X-Frame-Options', 'DENY');
      next();
    });
    if (adapter === 'fastify') {
      type Parser = (request: unknown, payload: unknown, done: (error: null) => void) => void;
      const fastify = app.getHttpAdapter().getInstance() as {
        addContentTypeParser(type: string, parser: Parser): void;
      };
      fastify.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null));
    }
  };
}

describe.each(ADAPTERS)('%s', (adapter) => {
  describe.each([false, true])('with rawBody: %s', (rawBody) => {
    let leaderUrl: string;
    let followerUrl: string;
    const apps: StartedApp[] = [];

    beforeAll(async () => {
      const controllers = [thingsFor(adapter)];
      const providers = (name: string) => [{ provide: NAME, useValue: name }];
      const prepare = furnish(adapter);
      const options = { rawBody };
      const start = (name: string, leader: FakeLeader) =>
        startApp(adapter, { controllers, providers: providers(name) }, { leader, prepare, options, isShared: true });
      apps.push(await start('leader', FakeLeader.leading()));
      leaderUrl = apps[0]?.url ?? '';
      apps.push(await start('follower', FakeLeader.following(leaderUrl)));
      followerUrl = apps[1]?.url ?? '';
    });

    afterAll(async () => {
      for (const { app } of apps.reverse()) await app.close();
    });

    it.each(KINDS)('answers like the leader: $name', async ({ path, body, status, ...sent }) => {
      const at = async (url: string) =>
        comparable(
          await send(`${url}/api/v2/things${path}`, {
            ...sent,
            body: body?.(),
            headers: { origin: 'http://a.test', ...sent.headers },
          }),
        );
      const [theirs, ours] = [await at(leaderUrl), await at(followerUrl)];
      expect(theirs.status).toBe(typeof status === 'number' ? status : status[adapter]);
      expect(ours).toEqual(theirs);
      expect(ours.body).not.toContain('follower');
    });

    it('serves reads itself', async () => {
      expect(json(await send(`${followerUrl}/api/v2/things`))).toEqual({ servedBy: 'follower' });
      const search = { method: 'POST', headers: JSON_TYPE, body: '{"q":1}' };
      expect(json(await send(`${followerUrl}/api/v2/things/search`, search))).toEqual({
        servedBy: 'follower',
        body: { q: 1 },
      });
    });

    it('takes JSON in another charset; made again, it is UTF-8', async () => {
      const type = 'application/json; charset=utf-16le';
      const sent = { method: 'POST', headers: { 'content-type': type }, body: Buffer.from('{"a":"ü"}', 'utf16le') };
      const answer = await send(`${followerUrl}/api/v2/things`, sent);
      if (adapter === 'fastify') expect(answer.status).toBe(400);
      else {
        const arrived = rawBody ? type : 'application/json; charset=utf-8';
        expect(json(answer)).toMatchObject({ servedBy: 'leader', body: { a: 'ü' }, type: arrived });
      }
    });

    it('carries bytes through unharmed', async () => {
      const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) % 251));
      const sent = { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: bytes };
      const answer = json(await send(`${followerUrl}/api/v2/things/bytes`, sent));
      expect(answer).toEqual({ servedBy: 'leader', size: bytes.length, sha: sha(bytes) });
    });
  });
});
