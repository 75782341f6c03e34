import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import BetterSqlite3 from 'better-sqlite3';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { until } from '../helper/cluster.js';
import { SampleApp } from '../support/sample-app.js';

const run = promisify(execFile);
const ORMS = ['kysely', 'typeorm', 'knex', 'objection', 'mikro-orm', 'drizzle', 'sequelize', 'cls'];
const NAMES = ['node1', 'node2'];

interface Author {
  readonly id: number;
  readonly name: string;
  readonly books: readonly { readonly id: number; readonly title: string; readonly copies: number }[];
}

it('keeps copies exact on every ORM while both nodes move them', async () => {
  const { stdout } = await run(process.execPath, ['build/sample/08-orms/demo/main.js', '3'], { timeout: 580_000 });
  for (const orm of ORMS) expect(stdout).toMatch(new RegExp(`^${orm} +8 +16 +20 .* yes +yes$`, 'm'));
  expect(stdout).toContain('Both nodes hold the same, and no copy was lost or made.');
}, 600_000);

describe('two nodes of sample 08-orms', () => {
  let root: string;
  let server: EmbeddedNatsServer;
  let nodes: SampleApp[] = [];

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'sample-orms-'));
    server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: join(root, 'nats') });
    const start = (name: string): Promise<SampleApp> =>
      SampleApp.start(
        `file:${root}/${name}.db?name=${name}&replicationID=library&replicationURL=${server.url}`,
        '08-orms',
      );
    nodes = await Promise.all(NAMES.map(start));
  }, 300_000);

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await server?.release();
    await rm(root, { recursive: true, force: true });
  });

  const [one, two] = [0, 1].map((index) => (method: string, path: string, body?: unknown) => {
    return (nodes[index] as SampleApp).request(method, path, body);
  }) as [SampleApp['request'], SampleApp['request']];

  /** Both are at one position of the stream. */
  const settled = (): Promise<void> =>
    until(async () => {
      const [a, b] = await Promise.all([one('GET', '/status'), two('GET', '/status')]);
      return (a.body as { position: string }).position === (b.body as { position: string }).position;
    });

  it('have run each migration once, and opened no file of their own', async () => {
    await settled();
    for (const name of NAMES) {
      const file = new BetterSqlite3(`${root}/${name}.db`, { readonly: true });
      const names = (sql: string): unknown[] => file.prepare(sql).pluck().all();
      expect(names('SELECT name FROM kysely_migration ORDER BY name')).toEqual([
        '2026-01-01-authors',
        '2026-01-02-books',
      ]);
      expect(names('SELECT name FROM migrations')).toEqual(['Library1767225600000']);
      expect(names('SELECT name FROM knex_migrations')).toEqual(['20260101_library']);
      expect(names('SELECT name FROM objection_migrations')).toEqual(['20260101_library']);
      expect(names('SELECT created_at FROM __drizzle_migrations')).toEqual([1_767_225_600_000]);
      file.close();
    }
    const files = (await readdir(root)).map((name) => name.replace(/^node[12][.]db.*/, 'node.db'));
    expect([...new Set(files)].sort()).toEqual(['nats', 'node.db']);
  });

  it.each(ORMS)('have the same authors and books on %s, whoever wrote them', async (orm) => {
    const books = [
      { title: 'Emma', copies: 3 },
      { title: 'Persuasion', copies: 0 },
    ];
    const created = await one('POST', `/${orm}/authors`, { name: 'Jane Austen', books });
    expect(created).toMatchObject({ status: 201, body: { name: 'Jane Austen', books } });
    const { books: stored } = created.body as Author;
    const [from, to] = stored.map(({ id }) => id);
    await settled();
    expect(await two('POST', `/${orm}/transfers`, { from, to, copies: 2 })).toEqual({
      status: 201,
      body: { from: 1, to: 2 },
    });
    expect(await two('POST', `/${orm}/authors`, { name: 'Nobody', books: [] })).toMatchObject({ status: 201 });
    expect(await two('POST', `/${orm}/transfers`, { from, to, copies: 2 })).toMatchObject({ status: 409 });
    expect(await two('POST', `/${orm}/transfers`, { from, to: 999, copies: 1 })).toMatchObject({ status: 404 });
    expect(await two('POST', `/${orm}/transfers`, { from, to: from, copies: 1 })).toMatchObject({ status: 400 });
    expect(await two('POST', `/${orm}/transfers`, { from, to, copies: 0 })).toMatchObject({ status: 400 });
    expect(await two('POST', `/${orm}/authors`, { name: 'No books' })).toMatchObject({ status: 400 });
    await settled();
    const { body } = await one('GET', `/${orm}/authors`);
    expect(body).toEqual([
      {
        id: 1,
        name: 'Jane Austen',
        books: [
          { ...stored[0], copies: 1 },
          { ...stored[1], copies: 2 },
        ],
      },
      { id: 2, name: 'Nobody', books: [] },
    ]);
    expect((await two('GET', `/${orm}/authors`)).body).toEqual(body);
  });
});
