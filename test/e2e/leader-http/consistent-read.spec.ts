import type { ServerResponse } from 'node:http';
import {
  Body,
  ConflictException,
  Controller,
  Get,
  HttpCode,
  Inject,
  Param,
  Post,
  Put,
  Res,
  Sse,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { from } from 'rxjs';
import { InjectHA } from '../../../lib/common/inject-ha.js';
import { ConsistentReadInterceptor } from '../../../lib/leader/consistent-read.interceptor.js';
import { LeaderGuard } from '../../../lib/leader/leader-guard.js';
import { HATestingBroker } from '../../../lib/testing/ha-testing.module.js';
import type { HATestingOptions } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { pause } from '../../helper/cluster.js';
import { ADAPTERS, startApp } from './apps.js';
import type { StartedApp } from './apps.js';
import { json, open, send } from './client.js';
import type { Answer } from './client.js';
import { FakeLeader } from './fake-leader.js';
import { NAME } from './things.js';

type Way = 'run' | 'get' | 'exec' | 'prepare' | 'transaction' | 'session' | 'iterate';

@Controller('rows')
@UseGuards(LeaderGuard)
@UseInterceptors(ConsistentReadInterceptor)
class RowsController implements OnModuleInit {
  constructor(
    @InjectHA() private readonly db: HADatabase,
    @Inject(NAME) private readonly servedBy: string,
  ) {}

  async onModuleInit(): Promise<void> {
    await this.db.exec('CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)');
  }

  @Get()
  async list() {
    return { servedBy: this.servedBy, rows: await this.db.all('SELECT * FROM t ORDER BY id') };
  }

  @Post('by/:way')
  async write(@Param('way') way: Way, @Body() { id }: { id: number }) {
    await this.byWay(way, id);
    // Others write in the meantime: the answer is about this request alone.
    const own = this.db.position().published;
    await new Promise<void>((resolve) => setImmediate(resolve));
    await this.late();
    return { own: String(own), servedBy: this.servedBy };
  }

  @Put(':id')
  async put(@Param('id') id: string) {
    await this.db.run('INSERT OR IGNORE INTO t VALUES(?, ?)', [Number(id), 'put']);
    return { servedBy: this.servedBy };
  }

  @Post('looked')
  @HttpCode(200)
  looked() {
    return { servedBy: this.servedBy };
  }

  @Post('failing/:id')
  async failing(@Param('id') id: string) {
    await this.db.run('INSERT INTO t VALUES(?, ?)', [Number(id), 'failing']);
    throw new ConflictException();
  }

  @Post('refused')
  refused() {
    throw new ConflictException();
  }

  @Get('visit/:id')
  async visit(@Param('id') id: string) {
    await this.db.run('INSERT INTO t VALUES(?, ?)', [Number(id), 'visit']);
    return {};
  }

  @Post('by-hand/:id')
  async byHand(
    @Param('id') id: string,
    @Res() response: ServerResponse & { send(body: string): void; raw?: ServerResponse },
  ) {
    await this.db.run('INSERT INTO t VALUES(?, ?)', [Number(id), 'by hand']);
    (response.raw ?? response).setHeader('Set-Cookie', 'session=1');
    response.send('by hand');
  }

  @Sse('events')
  events() {
    return from([{ data: this.servedBy }]);
  }

  /** Stands for other requests that write. */
  late: () => Promise<unknown> = () => Promise.resolve();

  private async byWay(way: Way, id: number): Promise<void> {
    const { db } = this;
    const sql = `INSERT INTO t VALUES(?, '${way}')`;
    if (way === 'run') await db.run(sql, [id]);
    else if (way === 'get') await db.get(`${sql} RETURNING id`, [id]);
    else if (way === 'exec')
      await db.exec(`INSERT INTO t VALUES(${id}, 'exec'); UPDATE t SET v = 'exec!' WHERE id = ${id}`);
    else if (way === 'prepare') await db.prepare(sql).run(id);
    else if (way === 'transaction') await db.transaction(async (tx) => void (await tx.run(sql, [id])));
    else if (way === 'iterate') for await (const _ of db.iterate(`${sql} RETURNING id`, [id])) continue;
    else {
      const session = db.connect();
      for (const text of ['BEGIN', `INSERT INTO t VALUES(${id}, 'session')`, 'COMMIT']) await session.execute(text);
      await session.close();
    }
  }
}

/** Holds back what one node applies. */
class Gate {
  private opening = Promise.resolve();
  private release: () => void = () => undefined;

  close(): void {
    this.opening = new Promise((resolve) => (this.release = resolve));
  }

  open(): void {
    this.release();
  }

  beforeApply(): Promise<void> {
    return this.opening;
  }
}

function told(answer: Answer): { cookie: string | undefined; header: string | undefined } {
  const cookies = (answer.headers['set-cookie'] ?? []) as string[];
  return {
    cookie: cookies.find((cookie) => cookie.startsWith('_txseq=')),
    header: answer.headers['x-ha-txseq'] as string | undefined,
  };
}

const POST = (body: object = {}) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

describe.each(ADAPTERS)('%s', (adapter) => {
  const gate = new Gate();
  const apps: StartedApp[] = [];
  let leader: StartedApp;
  let follower: StartedApp;
  /** Waits as long as it has to, where `follower` soon has the leader answer. */
  let patient: StartedApp;
  let leadership: FakeLeader;
  let nextId = 1;

  const start = async (name: string, by: FakeLeader, database: HATestingOptions): Promise<StartedApp> => {
    const metadata = { controllers: [RowsController], providers: [{ provide: NAME, useValue: name }] };
    const app = await startApp(adapter, metadata, { leader: by, database: { name, ...database }, isShared: true });
    apps.push(app);
    return app;
  };

  beforeAll(async () => {
    const broker = new HATestingBroker();
    leader = await start('leader', FakeLeader.leading(), { broker });
    leadership = FakeLeader.following(leader.url);
    follower = await start('follower', leadership, { broker, interceptors: [gate], consistentReadTimeout: '300ms' });
    patient = await start('patient', leadership, { broker, interceptors: [gate], consistentReadTimeout: '30s' });
  });

  afterEach(async () => {
    gate.open();
    leadership.changes.next({ isLeader: false, target: { text: leader.url, http: leader.url } });
    const { published } = leader.app.get(HADatabase).position();
    for (const { app } of [follower, patient]) await app.get(HADatabase).waitFor(published, { timeout: 20_000 });
  });

  afterAll(async () => {
    for (const { app } of apps.reverse()) await app.close();
  });

  /** Writes, and answers what the client is told to bring back. */
  const write = async (at = leader): Promise<{ id: number; cookie: string; sequence: string }> => {
    const id = nextId++;
    const answer = await send(`${at.url}/rows/by/run`, POST({ id }));
    expect(answer.status).toBe(201);
    const { cookie = '', header = '' } = told(answer);
    return { id, cookie: cookie.split(';', 1)[0] ?? '', sequence: header };
  };

  const read = (at: StartedApp, headers: Record<string, string> = {}, query = '') =>
    send(`${at.url}/rows${query}`, { headers });

  it.each<Way>(['run', 'get', 'exec', 'prepare', 'transaction', 'session', 'iterate'])(
    'tells how far the request’s own writes got, others’ not among them: %s',
    async (way) => {
      const controller = leader.app.get(RowsController);
      controller.late = () => Promise.resolve();
      const pending: Promise<unknown>[] = [];
      const others = setInterval(() => pending.push(write()), 5);
      const answer = await send(`${leader.url}/rows/by/${way}`, POST({ id: nextId++ })).finally(() =>
        clearInterval(others),
      );
      await Promise.all(pending);
      const { cookie, header } = told(answer);
      expect(cookie).toBe(`_txseq=${header}; Max-Age=300; Path=/; HttpOnly`);
      expect(BigInt(header ?? 0)).toBeGreaterThan(0n);
      // Another request may have been stored behind it, never in front of what this one saw as the last.
      expect(BigInt(header ?? 0)).toBeLessThanOrEqual(BigInt(json(answer)['own'] as string));
    },
  );

  it('is exact while another request writes behind it', async () => {
    const controller = leader.app.get(RowsController);
    const before = leader.app.get(HADatabase).position().received;
    controller.late = async () => {
      controller.late = () => Promise.resolve();
      await write();
      await write();
    };
    const answer = await send(`${leader.url}/rows/by/run`, POST({ id: nextId++ }));
    expect(told(answer).header).toBe(String(before + 1n));
  });

  it('has a follower wait for what the client wrote, by cookie and by header', async () => {
    for (const by of ['cookie', 'header'] as const) {
      gate.close();
      const { id, cookie, sequence } = await write();
      const stale = json(await read(patient));
      expect(stale).toMatchObject({ servedBy: 'patient' });
      expect(JSON.stringify(stale)).not.toContain(`"id":${id},`);
      const answer = read(patient, by === 'cookie' ? { cookie: `a=b; ${cookie}` } : { 'X-HA-TxSeq': sequence });
      await pause(50);
      gate.open();
      const fresh = json(await answer);
      expect(fresh).toMatchObject({ servedBy: 'patient', rows: expect.arrayContaining([{ id, v: 'run' }]) });
    }
  });

  it('brings the cookie through a follower that forwards the write', async () => {
    const { id, cookie } = await write(patient);
    expect(cookie).toMatch(/^_txseq=\d+$/);
    expect(json(await read(patient, { cookie }))).toMatchObject({
      servedBy: 'patient',
      rows: expect.arrayContaining([{ id, v: 'run' }]),
    });
  });

  it('has the leader answer where the follower takes too long', async () => {
    gate.close();
    const { id, cookie } = await write();
    const answer = await read(follower, { cookie }, '?x=1');
    expect(json(answer)).toMatchObject({ servedBy: 'leader', rows: expect.arrayContaining([{ id, v: 'run' }]) });
  });

  it('has the leader answer also where the client brings more than was written: another node has moved past it', async () => {
    gate.close();
    const { id, sequence } = await write();
    const answer = await read(follower, { 'x-ha-txseq': String(BigInt(sequence) + 5n) });
    expect(json(answer)).toMatchObject({ servedBy: 'leader', rows: expect.arrayContaining([{ id, v: 'run' }]) });
  });

  it('answers 504 instead with forward=false, and 503 where no leader is known', async () => {
    gate.close();
    const { cookie } = await write();
    const answer = await read(follower, { cookie }, '?forward=false');
    expect(answer).toMatchObject({ status: 504, headers: { 'retry-after': '1' } });
    expect(json(answer)).toMatchObject({ code: 'HA_READ_BEHIND', retryable: true });
    leadership.changes.next({ isLeader: false });
    expect((await read(follower, { cookie })).status).toBe(503);
  });

  it('does not forward a read twice', async () => {
    gate.close();
    const { cookie } = await write();
    const answer = await read(follower, { cookie, 'x-ha-forwarded-by': 'other' });
    expect(answer.status).toBe(504);
  });

  it('ends a stream of events that it cannot serve with an error', async () => {
    gate.close();
    const { cookie } = await write();
    const answer = await send(`${follower.url}/rows/events`, { headers: { cookie } });
    expect(answer.body.toString()).not.toContain('data: follower');
    gate.open();
    expect((await send(`${patient.url}/rows/events`, { headers: { cookie } })).body.toString()).toContain(
      'data: patient',
    );
  });

  it.each([
    ['nothing', ''],
    ['a word', 'abc'],
    ['zero', '0'],
    ['less than nothing', '-1'],
    ['an exponent', '1e9'],
    ['a fraction', '1.5'],
    ['more than any number', '9'.repeat(4_000)],
    ['more than is exact', '9007199254740993'],
    ['what nobody has written yet', '9007199254740991'],
    ['SQL', '1;DROP TABLE t--'],
    ['a list', '1,2'],
    ['a quoted number', '"1"'],
    ['bytes', '%00%ff'],
  ])('is not harmed by %s in the cookie or the header', async (_name, value) => {
    const spoilt: Record<string, string>[] = [
      { cookie: `_txseq=${value}` },
      { 'x-ha-txseq': value },
      { cookie: `_txseq; =; _txseq=${value}; _txseq=1` },
    ];
    for (const headers of spoilt) {
      const answer = await read(follower, headers);
      expect(answer.status).toBe(200);
      expect(json(answer)).toMatchObject({ servedBy: 'follower' });
      const written = await send(`${leader.url}/rows/looked`, {
        ...POST(),
        headers: { ...POST().headers, ...headers },
      });
      expect(BigInt(told(written).header ?? 0)).toBeLessThanOrEqual(leader.app.get(HADatabase).position().received);
    }
  });

  it('tells where the database stands, where a write found its work done', async () => {
    const id = nextId++;
    await send(`${leader.url}/rows/${id}`, { method: 'PUT' });
    const again = await send(`${leader.url}/rows/${id}`, { method: 'PUT' });
    expect(told(again).header).toBe(String(leader.app.get(HADatabase).position().received));
  });

  it('never tells less than the client has brought', async () => {
    const { cookie, sequence } = await write();
    const answer = await send(`${leader.url}/rows/looked`, { method: 'POST', headers: { cookie } });
    expect(BigInt(told(answer).header ?? 0)).toBeGreaterThanOrEqual(BigInt(sequence));
  });

  it('tells it also where the request failed behind its write, where a GET wrote, and where a handler answers itself', async () => {
    const failed = await send(`${leader.url}/rows/failing/${nextId++}`, POST());
    expect(failed.status).toBe(409);
    expect(told(failed).header).toMatch(/^\d+$/);
    expect(told(await read(leader, {}, `/visit/${nextId++}`)).header).toMatch(/^\d+$/);
    const byHand = await send(`${leader.url}/rows/by-hand/${nextId++}`, POST());
    expect(byHand.body.toString()).toBe('by hand');
    expect(byHand.headers['set-cookie']).toEqual(['session=1', told(byHand).cookie]);
  });

  it('tells nothing where nothing was written', async () => {
    expect(told(await read(leader))).toEqual({});
    expect(told(await send(`${leader.url}/rows/refused`, POST()))).toEqual({});
  });

  it('leaves nothing behind where the client does not wait', async () => {
    gate.close();
    const { cookie } = await write();
    const outgoing = open(`${follower.url}/rows`, { headers: { cookie } });
    outgoing.catch(() => undefined);
    await pause(30);
    gate.open();
    (await outgoing).destroy();
    expect((await read(follower)).status).toBe(200);
  });
});

describe('several databases', () => {
  @Controller('orders')
  @UseInterceptors(ConsistentReadInterceptor.for('orders / main'), ConsistentReadInterceptor)
  class OrdersController {
    constructor(
      @InjectHA('orders / main') private readonly orders: HADatabase,
      @InjectHA() private readonly db: HADatabase,
    ) {}

    @Post()
    async write() {
      await this.orders.exec('CREATE TABLE IF NOT EXISTS o(id INTEGER PRIMARY KEY)');
      const { txseq } = await this.orders.run('INSERT INTO o DEFAULT VALUES');
      await this.db.exec('CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY)');
      return { orders: String(txseq) };
    }
  }

  it('have a cookie each', async () => {
    const { HATestingModule } = await import('../../../lib/testing/ha-testing.module.js');
    const { url, app } = await startApp('express', {
      imports: [HATestingModule.forRoot({ connection: 'orders / main' })],
      controllers: [OrdersController],
    });
    const answer = await send(`${url}/orders`, POST());
    const { orders } = json(answer);
    const standing = app.get<HADatabase>(getHAToken()).position().received;
    expect(answer.headers['set-cookie']).toEqual(
      expect.arrayContaining([
        `_txseq=${standing}; Max-Age=300; Path=/; HttpOnly`,
        `_txseq_orders%20%2F%20main=${String(orders)}; Max-Age=300; Path=/; HttpOnly`,
      ]),
    );
    expect(answer.headers).toMatchObject({ 'x-ha-txseq': String(standing), 'x-ha-txseq-orders%20%2f%20main': orders });
  });
});

it('without a leader every node waits, and says 504 where it cannot', async () => {
  const broker = new HATestingBroker();
  const gate = new Gate();
  const metadata = (name: string) => ({
    controllers: [RowsController],
    providers: [{ provide: NAME, useValue: name }],
  });
  const one = await startApp('express', metadata('one'), { database: { name: 'one', broker } });
  const two = await startApp('express', metadata('two'), {
    database: { name: 'two', broker, interceptors: [gate], consistentReadTimeout: 200 },
  });
  gate.close();
  const { header = '' } = told(await send(`${one.url}/rows/by/run`, POST({ id: 1 })));
  expect((await send(`${two.url}/rows`, { headers: { 'x-ha-txseq': header } })).status).toBe(504);
  gate.open();
  const answer = json(await send(`${two.url}/rows`, { headers: { 'x-ha-txseq': header } }));
  expect(answer).toMatchObject({ servedBy: 'two', rows: [{ id: 1, v: 'run' }] });
});
