import BetterSqlite3 from 'better-sqlite3';
import {
  and,
  asc,
  avg,
  between,
  count,
  countDistinct,
  desc,
  DrizzleError,
  DrizzleQueryError,
  eq,
  exists,
  getTableColumns,
  gt,
  inArray,
  isNull,
  like,
  max,
  not,
  or,
  relations,
  sql,
  sum,
} from 'drizzle-orm';
import { drizzle as drizzleOnSqlite } from 'drizzle-orm/better-sqlite3';
import {
  alias,
  blob,
  except,
  integer,
  intersect,
  numeric,
  primaryKey,
  real,
  sqliteTable,
  sqliteView,
  text,
  union,
  unionAll,
} from 'drizzle-orm/sqlite-core';
import type { BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core';
import { drizzle } from '../../../lib/orm/drizzle.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import { expectInReadme, failing, outcomes } from './conformance.js';
import type { Check } from './conformance.js';

/** The tables of Drizzle's own tests, in short. */
const users = sqliteTable('users', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  name: text('name').notNull().unique(),
  verified: integer('verified', { mode: 'boolean' }).notNull().default(false),
  json: blob('json', { mode: 'json' }).$type<string[]>(),
  createdAt: integer('created_at', { mode: 'timestamp' }).notNull().default(new Date(1_000_000)),
  cityId: integer('city_id').references(() => cities.id, { onDelete: 'cascade' }),
});
const cities = sqliteTable('cities', { id: integer('id').primaryKey(), name: text('name').notNull() });
const types = sqliteTable('types', {
  id: integer('id').primaryKey(),
  buffer: blob('buffer', { mode: 'buffer' }),
  big: blob('big', { mode: 'bigint' }),
  date: integer('date', { mode: 'timestamp_ms' }),
  list: text('list', { mode: 'json' }).$type<{ a: number }[]>(),
  kind: text('kind', { enum: ['x', 'y'] }).default('x'),
  number: real('number'),
  decimal: numeric('decimal'),
  computed: integer('computed').generatedAlwaysAs(sql`id * 2`),
});
const members = sqliteTable(
  'members',
  { user: integer('user').notNull(), city: integer('city').notNull(), rank: integer('rank') },
  (table) => [primaryKey({ columns: [table.user, table.city] })],
);
const verifiedUsers = sqliteView('verified_users').as((qb) => qb.select().from(users).where(eq(users.verified, true)));
const schema = {
  users,
  cities,
  userRelations: relations(users, ({ one }) => ({
    city: one(cities, { fields: [users.cityId], references: [cities.id] }),
  })),
  cityRelations: relations(cities, ({ many }) => ({ users: many(users) })),
};

type Orm = BaseSQLiteDatabase<'sync' | 'async', { changes: number; lastInsertRowid: number | bigint }, typeof schema>;
type Step = (orm: Orm) => { all(): unknown; run(): unknown };

interface Subject {
  readonly orm: Orm;
  /** Runs queries in a transaction, and behind them `end`, which may throw. */
  transact(steps: readonly Step[], end?: (orm: Orm) => void): Promise<unknown>;
  nest(outer: readonly Step[], inner: readonly Step[], fails: boolean): Promise<unknown>;
}

const DDL = [
  'CREATE TABLE cities(id integer PRIMARY KEY, name text NOT NULL)',
  `CREATE TABLE users(id integer PRIMARY KEY AUTOINCREMENT, name text NOT NULL UNIQUE, verified integer NOT NULL DEFAULT 0, json blob,
    created_at integer NOT NULL DEFAULT 1000, city_id integer REFERENCES cities(id) ON DELETE CASCADE)`,
  `CREATE TABLE types(id integer PRIMARY KEY, buffer blob, big blob, date integer, list text, kind text DEFAULT 'x', number real,
    decimal numeric, computed integer GENERATED ALWAYS AS (id * 2))`,
  'CREATE TABLE members(user integer NOT NULL, city integer NOT NULL, rank integer, PRIMARY KEY(user, city))',
  'CREATE VIEW verified_users AS SELECT * FROM users WHERE verified = 1',
];

async function fresh({ orm }: Subject): Promise<void> {
  await orm.run(sql`DROP VIEW IF EXISTS verified_users`);
  for (const name of ['users', 'cities', 'types', 'members', 'made'])
    await orm.run(sql.raw(`DROP TABLE IF EXISTS ${name}`));
  for (const statement of DDL) await orm.run(sql.raw(statement));
  await orm.insert(cities).values([
    { id: 1, name: 'Paris' },
    { id: 2, name: 'Rome' },
  ]);
  await orm.insert(users).values([
    { name: 'John', cityId: 1, verified: true, json: ['a', 'b'] },
    { name: 'Jane', cityId: 1 },
    { name: 'Jack', cityId: 2, createdAt: new Date(5_000) },
  ]);
}

const all = async (orm: Orm): Promise<unknown> => orm.select().from(users).orderBy(users.id);
const fails = (message: string) => (): never => {
  throw new Error(message);
};
const insertUser =
  (name: string): Step =>
  (orm) =>
    orm.insert(users).values({ name });
const readUsers: Step = (orm) => orm.select({ name: users.name }).from(users).orderBy(users.id);

const CHECKS: readonly Check<Subject>[] = [
  // Inserts
  ['insert', async ({ orm }) => orm.insert(users).values({ name: 'a' })],
  ['insert .run()', async ({ orm }) => orm.insert(users).values({ name: 'a' }).run()],
  [
    'insert of several',
    async ({ orm }) => [await orm.insert(users).values([{ name: 'a' }, { name: 'b' }]), await all(orm)],
  ],
  [
    'insert returning',
    async ({ orm }) =>
      orm
        .insert(users)
        .values([{ name: 'a' }, { name: 'b', verified: true, json: ['x'] }])
        .returning(),
  ],
  [
    'insert returning .get()',
    async ({ orm }) =>
      orm
        .insert(users)
        .values({ name: 'a' })
        .returning({ id: users.id, n: sql<string>`upper(${users.name})` })
        .get(),
  ],
  ['insert returning .values()', async ({ orm }) => orm.insert(users).values({ name: 'a' }).returning().values()],
  [
    'insert from a select',
    async ({ orm }) => [
      await orm
        .insert(members)
        .select(orm.select({ user: users.id, city: sql`1`.as('city'), rank: sql`null`.as('rank') }).from(users)),
      await orm.select().from(members),
    ],
  ],
  ['on conflict do nothing', async ({ orm }) => orm.insert(users).values({ name: 'John' }).onConflictDoNothing()],
  [
    'on conflict do update',
    async ({ orm }) => [
      await orm
        .insert(users)
        .values({ name: 'John' })
        .onConflictDoUpdate({ target: users.name, set: { verified: false } }),
      await all(orm),
    ],
  ],
  [
    'on conflict do update where returning',
    async ({ orm }) =>
      orm
        .insert(members)
        .values([
          { user: 1, city: 1, rank: 1 },
          { user: 1, city: 2 },
        ])
        .onConflictDoUpdate({ target: [members.user, members.city], set: { rank: sql`excluded.rank` } })
        .returning(),
  ],
  ['default values', async ({ orm }) => orm.insert(types).values({}).returning()],
  [
    'types there and back',
    async ({ orm }) => [
      await orm.insert(types).values({
        id: 7,
        buffer: Buffer.from([0, 255]),
        big: 2n ** 70n,
        date: new Date(1_234),
        list: [{ a: 1 }],
        kind: 'y',
        number: 1.5,
        decimal: '12.50',
      }),
      await orm.select().from(types),
    ],
  ],
  ['unique violation', async ({ orm }) => orm.insert(users).values({ name: 'John' })],
  ['not null violation', async ({ orm }) => orm.insert(users).values({ name: null as never })],
  ['foreign key violation', async ({ orm }) => orm.insert(users).values({ name: 'x', cityId: 77 })],
  ['a boolean that no column maps', async ({ orm }) => orm.run(sql`INSERT INTO cities(name) VALUES(${true})`)],
  // Reads
  ['select', async ({ orm }) => all(orm)],
  ['select .get()', async ({ orm }) => orm.select().from(users).where(eq(users.name, 'Jane')).get()],
  ['select .get() of nothing', async ({ orm }) => orm.select().from(users).where(eq(users.id, 99)).get()],
  ['select .values()', async ({ orm }) => orm.select().from(users).orderBy(users.id).values()],
  [
    'select fields and expressions',
    async ({ orm }) =>
      orm
        .select({
          ...getTableColumns(users),
          up: sql<string>`upper(${users.name})`,
          when: sql`${users.createdAt}`.mapWith(users.createdAt),
        })
        .from(users)
        .orderBy(users.id),
  ],
  [
    'select nested fields',
    async ({ orm }) =>
      orm
        .select({ user: { name: users.name }, city: { name: cities.name } })
        .from(users)
        .innerJoin(cities, eq(cities.id, users.cityId))
        .orderBy(users.id),
  ],
  [
    'left join of nothing',
    async ({ orm }) =>
      orm
        .select()
        .from(cities)
        .leftJoin(users, and(eq(users.cityId, cities.id), eq(users.name, 'nobody')))
        .orderBy(cities.id),
  ],
  [
    'right and full join',
    async ({ orm }) => [
      await orm
        .select()
        .from(users)
        .rightJoin(cities, sql`0`)
        .orderBy(cities.id),
      await orm
        .select({ u: users.id, c: cities.id })
        .from(users)
        .fullJoin(cities, eq(users.id, cities.id))
        .orderBy(users.id),
    ],
  ],
  [
    'alias and self join',
    async ({ orm }) => {
      const other = alias(users, 'other');
      return orm
        .select({ a: users.name, b: other.name })
        .from(users)
        .innerJoin(other, gt(other.id, users.id))
        .orderBy(users.id, other.id);
    },
  ],
  [
    'columns of one name',
    async ({ orm }) =>
      orm
        .select({ a: users.id, b: cities.id })
        .from(users)
        .innerJoin(cities, sql`1`)
        .orderBy(users.id, cities.id),
  ],
  ['distinct', async ({ orm }) => orm.selectDistinct({ city: users.cityId }).from(users).orderBy(users.cityId)],
  [
    'group by and having',
    async ({ orm }) =>
      orm
        .select({ city: users.cityId, n: count() })
        .from(users)
        .groupBy(users.cityId)
        .having(({ n }) => gt(n, 1)),
  ],
  [
    'aggregates',
    async ({ orm }) =>
      orm
        .select({ s: sum(users.id), a: avg(users.id), m: max(users.name), d: countDistinct(users.cityId) })
        .from(users),
  ],
  [
    'conditions',
    async ({ orm }) =>
      orm
        .select({ id: users.id })
        .from(users)
        .where(
          or(and(like(users.name, 'Ja%'), not(isNull(users.cityId))), inArray(users.id, [1]), between(users.id, 9, 10)),
        )
        .orderBy(desc(users.id)),
  ],
  [
    'exists and subquery',
    async ({ orm }) => {
      const sq = orm.select({ id: users.id }).from(users).where(eq(users.cityId, cities.id));
      const n = orm
        .select({ city: users.cityId, n: count().as('n') })
        .from(users)
        .groupBy(users.cityId)
        .as('n');
      return [
        await orm.select().from(cities).where(exists(sq)).orderBy(cities.id),
        await orm.select().from(n).orderBy(n.city),
      ];
    },
  ],
  [
    'with',
    async ({ orm }) => {
      const cte = orm.$with('v').as(orm.select().from(users).where(eq(users.cityId, 1)));
      return orm.with(cte).select({ id: cte.id, made: cte.createdAt }).from(cte).orderBy(asc(cte.id));
    },
  ],
  [
    'set operations',
    async ({ orm }) => {
      const own = () => orm.select({ id: users.id }).from(users);
      const other = () => orm.select({ id: cities.id }).from(cities);
      return [
        await union(own(), other()).orderBy(sql`id`),
        await unionAll(own(), other()).orderBy(sql`id`),
        await intersect(own(), other()).orderBy(sql`id`),
        await except(own(), other()),
      ];
    },
  ],
  [
    'limit and offset',
    async ({ orm }) => orm.select({ id: users.id }).from(users).orderBy(users.id).limit(1).offset(1),
  ],
  ['view', async ({ orm }) => orm.select().from(verifiedUsers)],
  ['$count', async ({ orm }) => [await orm.$count(users), await orm.$count(users, eq(users.cityId, 1))]],
  [
    'prepared',
    async ({ orm }) => {
      const query = orm
        .select({ id: users.id })
        .from(users)
        .where(eq(users.name, sql.placeholder('name')))
        .prepare();
      return [
        await query.all({ name: 'John' }),
        await query.get({ name: 'Jane' }),
        await query.values({ name: 'Jack' }),
        await query.execute({ name: 'none' }),
      ];
    },
  ],
  [
    'prepared insert',
    async ({ orm }) => {
      const query = orm
        .insert(users)
        .values({ name: sql.placeholder('name'), createdAt: new Date(9_000) })
        .prepare();
      await query.run({ name: 'p' });
      await query.execute({ name: 'q' });
      return all(orm);
    },
  ],
  ['no such column', async ({ orm }) => orm.select({ x: sql`missing` }).from(users)],
  ['syntax error', async ({ orm }) => orm.all(sql`SELEC 1`)],
  // Relational queries
  ['findMany', async ({ orm }) => orm.query.users.findMany({ orderBy: asc(users.id) })],
  [
    'findFirst with relations',
    async ({ orm }) =>
      orm.query.cities.findFirst({
        with: {
          users: { columns: { name: true, createdAt: true, verified: true }, orderBy: desc(users.id) },
        },
      }),
  ],
  ['findFirst of nothing', async ({ orm }) => orm.query.users.findFirst({ where: eq(users.id, 99) })],
  [
    'deep relations, extras, limit',
    async ({ orm }) =>
      orm.query.users.findMany({
        columns: { id: true },
        extras: { up: sql<string>`upper(${users.name})`.as('up') },
        with: { city: { with: { users: { limit: 1, columns: { name: true } } } } },
        orderBy: asc(users.id),
        limit: 2,
        offset: 1,
      }),
  ],
  [
    'relational query, prepared and sync-like',
    async ({ orm }) =>
      orm.query.users
        .findFirst({ where: eq(users.name, sql.placeholder('name')) })
        .prepare()
        .execute({ name: 'Jane' }),
  ],
  // Updates and deletes
  [
    'update',
    async ({ orm }) => [
      await orm.update(users).set({ verified: true, json: null }).where(gt(users.id, 1)),
      await all(orm),
    ],
  ],
  ['update of nothing', async ({ orm }) => orm.update(users).set({ verified: true }).where(eq(users.id, 99))],
  [
    'update returning',
    async ({ orm }) =>
      orm
        .update(users)
        .set({ createdAt: new Date(0), name: sql`${users.name} || '!'` })
        .returning(),
  ],
  [
    'update from',
    async ({ orm }) => [
      await orm
        .update(users)
        .set({ name: sql`${cities.name} || ${users.id}` })
        .from(cities)
        .where(eq(cities.id, users.cityId)),
      await all(orm),
    ],
  ],
  ['delete cascades', async ({ orm }) => [await orm.delete(cities).where(eq(cities.id, 1)), await all(orm)]],
  [
    'delete returning .get()',
    async ({ orm }) => orm.delete(users).where(eq(users.id, 2)).returning({ name: users.name }).get(),
  ],
  // Raw
  ['raw run', async ({ orm }) => orm.run(sql`UPDATE users SET verified = ${1} WHERE id > ${1}`)],
  ['raw all', async ({ orm }) => orm.all(sql`SELECT id, name AS "n" FROM users ORDER BY id`)],
  ['raw get', async ({ orm }) => [await orm.get(sql`SELECT * FROM cities`), await orm.get(sql`SELECT 1 WHERE 0`)]],
  ['raw values', async ({ orm }) => orm.values(sql`SELECT id, id, ${'x'}, ${null} FROM cities ORDER BY id`)],
  ['raw all of a write', async ({ orm }) => orm.all(sql`DELETE FROM users`)],
  ['raw returning', async ({ orm }) => orm.all(sql`DELETE FROM users WHERE id = 1 RETURNING id, name`)],
  ['raw run of a read', async ({ orm }) => (await orm.run(sql`SELECT 1`)).changes],
  [
    'DDL',
    async ({ orm }) => [
      await orm.run(sql`CREATE TABLE made(id integer PRIMARY KEY)`),
      await orm.all(sql`PRAGMA table_info(made)`),
    ],
  ],
  // Transactions
  ['transaction', async ({ orm, transact }) => [await transact([insertUser('a'), readUsers]), await all(orm)]],
  [
    'transaction that fails',
    async ({ orm, transact }) => [
      await transact([insertUser('a')], fails('no')).catch((error: Error) => error.message),
      await all(orm),
    ],
  ],
  [
    'rollback()',
    async ({ orm, transact }) => [
      await transact([insertUser('a')], (tx) => (tx as unknown as { rollback(): never }).rollback()).catch(
        (error: Error) => [error.name, error.message],
      ),
      await all(orm),
    ],
  ],
  ['transaction with a statement that fails', async ({ transact }) => transact([insertUser('a'), insertUser('John')])],
  [
    'nested transaction',
    async ({ orm, nest }) => [await nest([insertUser('a')], [insertUser('b'), readUsers], false), await all(orm)],
  ],
  [
    'nested transaction that fails',
    async ({ orm, nest }) => [await nest([insertUser('a')], [insertUser('b'), readUsers], true), await all(orm)],
  ],
];

/** Asynchronous drivers of Drizzle wrap what SQLite says. */
async function unwrapped<R>(work: () => PromiseLike<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    const wrapped = error instanceof DrizzleQueryError || (error instanceof DrizzleError && error.cause !== undefined);
    throw wrapped ? await unwrapped(() => Promise.reject(error.cause)).catch((cause: unknown) => cause) : error;
  }
}

/** What a write says, without the place in the stream that only ours tells. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null || !('changes' in value)) return value;
  const { changes, lastInsertRowid } = value as { changes: number; lastInsertRowid: number };
  return { changes, lastInsertRowid };
}

it('does what its driver for better-sqlite3 does, check by check', async () => {
  const cluster = await startCluster({ query: '_foreign_keys=on' });
  const database = new BetterSqlite3(':memory:');
  onCleanup(() => void database.close());
  const stock = drizzleOnSqlite(database, { schema });
  const own = drizzle(cluster.a, { schema });
  const theirs: Subject = {
    orm: stock,
    transact: async (steps, end) =>
      stock.transaction((tx) => {
        const orm = tx;
        const results = steps.map((step) => (step === readUsers ? step(orm).all() : step(orm).run()));
        end?.(orm);
        return results;
      }),
    nest: async (outer, inner, isFailing) =>
      stock.transaction((tx) => {
        for (const step of outer) step(tx).run();
        try {
          return tx.transaction((nested) => {
            const results = inner.map((step) => (step === readUsers ? step(nested).all() : step(nested).run()));
            if (isFailing) throw new Error('inner');
            return results.length;
          });
        } catch (error) {
          return (error as Error).message;
        }
      }),
  };
  const ours: Subject = {
    orm: own,
    transact: (steps, end) =>
      own.transaction(async (tx) => {
        const orm = tx;
        const results = [];
        for (const step of steps) results.push(await (step === readUsers ? step(orm).all() : step(orm).run()));
        end?.(orm);
        return results;
      }),
    nest: (outer, inner, isFailing) =>
      own.transaction(async (tx) => {
        for (const step of outer) await step(tx).run();
        const nested = tx.transaction(async (orm) => {
          for (const step of inner) await (step === readUsers ? step(orm).all() : step(orm).run());
          if (isFailing) throw new Error('inner');
          return inner.length;
        });
        return nested.catch((error: Error) => error.message);
      }),
  };
  const checks = CHECKS.map(([name, work]): Check<Subject> => [
    name,
    async (subject) => comparable(await unwrapped(() => work(subject))),
  ]);
  const [expected, found] = [await outcomes(checks, theirs, fresh), await outcomes(checks, ours, fresh)];
  expect(found).toEqual(expected);
  expect(failing(found)).toEqual([
    'unique violation',
    'not null violation',
    'foreign key violation',
    'a boolean that no column maps',
    'no such column',
    'syntax error',
    'raw all of a write',
    'transaction with a statement that fails',
  ]);
  await cluster.expectEqual();
  expectInReadme('Drizzle', CHECKS.length);
});
