import BetterSqlite3 from 'better-sqlite3';
import createKnex from 'knex';
import type { Knex } from 'knex';
import { Kysely, SqliteDialect } from 'kysely';
import { sql } from 'drizzle-orm';
import { DataSource } from 'typeorm';
import { drizzle } from '../../../lib/orm/drizzle.js';
import { haKnexClient } from '../../../lib/orm/knex.js';
import { HAKyselyDialect } from '../../../lib/orm/kysely.js';
import { haDataSource, haDataSourceOptions } from '../../../lib/orm/typeorm.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO t VALUES (1, 'one', 'two')";
const REFUSED = 'SQLite3 can only bind numbers, strings, bigints, buffers, and null';

type Work<Subject> = (subject: Subject) => Promise<unknown>;
/** Some wrap the driver's error. */
function said(error: unknown): string {
  const { message, cause } = error as Error;
  return message.endsWith(REFUSED) || (cause as Error | undefined)?.message === REFUSED ? 'refused' : message;
}

// better-sqlite3 takes an array among its arguments for several parameters, so values of a body that nobody has checked could move
// to other columns, or into WHERE. The drivers of Knex and Kysely hand over one array, whose elements have to be values.
const KNEX: [string, Work<Knex>][] = [
  [
    'insert of a list of one',
    async (k) => (await k('t').insert({ a: ['x'], b: 'y' }), k('t').where({ b: 'y' }).pluck('a')),
  ],
  [
    'insert of two values in place of one',
    async (k) => (await k('t').insert({ a: ['p', 'q'], b: [] }), k('t').pluck('b')),
  ],
  ['where: shifted to the next column', (k) => k('t').where({ a: ['one', 'two'], b: [] } as object)],
  [
    'update: value of the body in WHERE',
    (k) =>
      k('t')
        .where('b', [] as unknown as string)
        .update({ a: ['zz', 'two'] }),
  ],
];

describe('an array among the values', () => {
  it.each(KNEX)('is refused by Knex as by its own driver: %s', async (_name, work) => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    const ha = createKnex({ client: haKnexClient(cluster.a), useNullAsDefault: true });
    const stock = createKnex({
      client: 'better-sqlite3',
      connection: { filename: ':memory:' },
      useNullAsDefault: true,
    });
    onCleanup(() => Promise.all([ha.destroy(), stock.destroy()]).then(() => undefined));
    for (const statement of SCHEMA.split(';')) await stock.raw(statement);
    const expected = await work(stock).catch(said);
    expect(expected).toBe('refused');
    expect(await work(ha).catch(said)).toEqual(expected);
  });

  it('is refused by Kysely as by its own driver', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    const file = new BetterSqlite3(':memory:');
    file.exec(SCHEMA);
    interface Tables {
      t: { id?: number; a: unknown; b: unknown };
    }
    const stock = new Kysely<Tables>({ dialect: new SqliteDialect({ database: file }) });
    const ha = new Kysely<Tables>({ dialect: new HAKyselyDialect(cluster.a) });
    const work = async (k: Kysely<Tables>): Promise<unknown> => {
      await k
        .insertInto('t')
        .values({ a: ['p', 'q'], b: [] })
        .execute();
      return k.selectFrom('t').select(['a', 'b']).execute();
    };
    const expected = await work(stock).catch(said);
    expect(expected).toBe('refused');
    expect(await work(ha).catch(said)).toEqual(expected);
  });

  it('is refused by Drizzle', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    const orm = drizzle(cluster.a);
    const listOfTwo = sql.param(['one', 'two']);
    const nothing = sql.param([]);
    const works: (() => Promise<unknown>)[] = [
      () => orm.run(sql`UPDATE t SET a = ${listOfTwo} WHERE b = ${nothing}`),
      () => orm.all(sql`SELECT * FROM t WHERE a = ${listOfTwo} AND b = ${nothing}`),
      () => orm.get(sql`SELECT * FROM t WHERE a = ${listOfTwo} AND b = ${nothing}`),
      () => orm.transaction((tx) => tx.run(sql`UPDATE t SET a = ${listOfTwo} WHERE b = ${nothing}`)),
    ];
    for (const work of works) expect(await work().catch(said)).toBe('refused');
    expect(await cluster.a.all('SELECT a, b FROM t')).toEqual([{ a: 'one', b: 'two' }]);
  });

  it('is refused by TypeORM', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    const source = haDataSource(new DataSource(haDataSourceOptions(cluster.a, { entities: [] })));
    await source.initialize();
    onCleanup(() => source.destroy());
    const runner = source.createQueryRunner();
    const update = 'UPDATE t SET a = ? WHERE b = ?';
    const select = 'SELECT * FROM t WHERE a = ? AND b = ?';
    const parameters = [['one', 'two'], []];
    const rows = async (): Promise<void> => {
      for await (const row of (await runner.stream(select, parameters)) as AsyncIterable<unknown>) void row;
    };
    const works: (() => Promise<unknown>)[] = [
      () => source.query(update, parameters),
      () => source.query(select, parameters),
      () => source.transaction((manager) => manager.query(update, parameters)),
      rows,
    ];
    for (const work of works) expect(await work().catch(said)).toBe('refused');
    await runner.release();
    expect(await cluster.a.all('SELECT a, b FROM t')).toEqual([{ a: 'one', b: 'two' }]);
  });
});
