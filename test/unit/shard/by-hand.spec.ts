import { Differential } from './differential.js';

/** What random statements seldom hold: each answer must be that of a single database. */
const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT COLLATE NOCASE, b TEXT, x, i INTEGER, r REAL, j TEXT);
  CREATE TABLE u(id INTEGER PRIMARY KEY, t INTEGER, v NUMERIC, n TEXT COLLATE RTRIM);
  CREATE VIEW vw AS SELECT id, n, x FROM t WHERE i IS NOT NULL;
  CREATE VIEW vv(a, c) AS SELECT n, count(*) FROM vw GROUP BY n;`;
const SINGLE = SCHEMA.replaceAll('INTEGER PRIMARY KEY', 'INTEGER');
const NAMED = SINGLE.replace('j TEXT)', 'j TEXT, _ha_db TEXT)').replace(
  'COLLATE RTRIM)',
  'COLLATE RTRIM, _ha_db TEXT)',
);
const PARTS = [
  {
    name: 'Ten-A',
    schema: SCHEMA,
    rows: `INSERT INTO t VALUES(1,'ten-a','ten-a',1,9223372036854775807,-0.0,'[1]'),(2,'TEN-a','x','1',5,1.5,'{"k":[1]}'),(3,'b','B',1.0,NULL,9e999,'[1]'),(4,char(97,0,98),'q',x'0001',-9223372036854775807,2,'null');
      INSERT INTO u VALUES(1,1,1,'a '),(2,2,'2','b')`,
  },
  {
    name: 'ten-b',
    schema: SCHEMA,
    rows: `INSERT INTO t VALUES(1,'TEN-B','ten-b',2,1,0.0,'[1]'),(2,'ten-a','ten-b ','01',7,1e300,'[2]'),(3,'B','b',NULL,3,NULL,'[1]');
      INSERT INTO u VALUES(1,1,1.5,'a'),(2,3,2,'b ')`,
  },
  {
    name: 'ten-a',
    schema: SCHEMA,
    rows: `INSERT INTO t VALUES(1,'TEN-A','ten-a ',x'31',2,0.5,'[1]'),(7,'é','É','1',4,-9e999,'[3]');
      INSERT INTO u VALUES(5,7,3,'A')`,
  },
];

/** Names of databases that texts of the tables equal, but for their case. */
const WITH_SOURCE: [string, unknown[]][] = [
  ['SELECT id, n FROM t WHERE _ha_db = n', []],
  ['SELECT id, n FROM t WHERE n = _ha_db', []],
  ['SELECT id FROM t WHERE _ha_db IN (n, b)', []],
  ['SELECT n, count(*) FROM t WHERE _ha_db = n GROUP BY n', []],
  ['SELECT max(_ha_db, n), min(n, _ha_db) FROM t', []],
  ['SELECT id FROM t WHERE _ha_db BETWEEN n AND n', []],
  ['SELECT CASE _ha_db WHEN n THEN 1 ELSE 0 END FROM t', []],
  ['SELECT id, n FROM t WHERE _ha_db = n ORDER BY id LIMIT 3', []],
  ["SELECT _ha_db, count(*) FROM t WHERE _ha_db = 'ten-a' GROUP BY _ha_db", []],
  ['SELECT _ha_db = n, count(*) FROM t GROUP BY 1', []],
  ['SELECT count(*) FILTER (WHERE _ha_db = n) FROM t', []],
  ['SELECT count(*) FROM t WHERE _ha_db > 5', []],
  ['SELECT nullif(_ha_db, n) FROM t', []],
  ['SELECT t.id FROM t JOIN u ON u._ha_db=t._ha_db AND t._ha_db = u.n', []],
  ["SELECT t.* FROM t WHERE _ha_db COLLATE NOCASE='TEN-A'", []],
  ['SELECT t.id, u.id FROM t LEFT JOIN u ON t._ha_db=u._ha_db AND u.t=t.id', []],
  ["SELECT count(*) FROM t NATURAL JOIN u WHERE t._ha_db='ten-a'", []],
  ['SELECT a AS _ha_db FROM (SELECT n AS a FROM t) ', []],
  ['SELECT x AS _ha_db, count(*) FROM t GROUP BY _ha_db', []],
  ['SELECT n AS _ha_db FROM t ORDER BY _ha_db, id, b LIMIT 2', []],
];

const STATEMENTS: [string, unknown[]][] = [
  ['SELECT json_array(json(j)), count(*) FROM t GROUP BY json(j)', []],
  ['SELECT json_array(max(json(j))) FROM t', []],
  ["SELECT json_array(j -> '$'), count(*) FROM t GROUP BY j -> '$'", []],
  ['SELECT json_array(coalesce(json(j),1)), count(*) FROM t GROUP BY coalesce(json(j),1)', []],
  ['SELECT -id AS i, b FROM t ORDER BY likely(i) LIMIT 2', []],
  ['SELECT id AS i, -i AS id, count(*) FROM t GROUP BY i, id ORDER BY likely(id) LIMIT 2', []],
  ['SELECT i, -i AS x, count(*) FROM t WHERE i<>9223372036854775807 GROUP BY i ORDER BY unlikely(x)', []],
  ['SELECT -id AS i, b FROM t ORDER BY i, b LIMIT 2', []],
  ['SELECT -id AS i, b FROM t ORDER BY +i LIMIT 2', []],
  ['SELECT b AS n FROM t ORDER BY n COLLATE NOCASE, n LIMIT 3', []],
  ['SELECT sum(i) FROM t', []],
  ['SELECT avg(i), total(i) FROM t', []],
  ['SELECT sum(i) FROM t WHERE id>1', []],
  ['SELECT sum(x), avg(x), total(x) FROM t', []],
  ['SELECT sum(r), max(r), min(r) FROM t', []],
  ['SELECT r FROM t', []],
  ['SELECT count(DISTINCT n), count(DISTINCT b), count(DISTINCT x) FROM t', []],
  ["SELECT group_concat(id, ',') FILTER (WHERE id > 2) FROM t", []],
  ['SELECT 1 FROM t HAVING count(*) > 3', []],
  ['SELECT count(*) FROM t HAVING count(*) > 300', []],
  ['SELECT id FROM t GROUP BY id HAVING max(i) > 4', []],
  ['SELECT max(id), b FROM t WHERE id=7', []],
  ['SELECT id%2 AS id, count(*) FROM t GROUP BY id', []],
  ['SELECT id%2 AS k, count(*) FROM t GROUP BY k ORDER BY k', []],
  ['SELECT id%2, count(*) FROM t GROUP BY 1 ORDER BY 2 DESC, 1', []],
  ['SELECT (id, i) = (1, 1), count(*) FROM t GROUP BY id, i', []],
  ['SELECT id FROM t WHERE (id, i) IN (SELECT id, i FROM t WHERE id > 2)', []],
  ['SELECT id FROM t WHERE (id, i) < (2, 4)', []],
  ['SELECT :a + id, count(*) FROM t WHERE id <> :a GROUP BY :a + id', [{ a: 1 }]],
  ['SELECT ?2, id + ?1, ?2 FROM t WHERE id > ?1', [{ 1: 1, 2: 'z' }]],
  ['SELECT id + ?, count(*) FROM t GROUP BY id + ?', [1, 2]],
  ['SELECT id FROM t LIMIT ? OFFSET ?', [-1, -5]],
  ['SELECT id FROM t LIMIT 1+1', []],
  ['SELECT count(*) FROM (SELECT id FROM t LIMIT (SELECT 3))', []],
  ['SELECT id FROM t ORDER BY id, n, b LIMIT 2 OFFSET 1+1', []],
  ['WITH t AS (SELECT 5 AS id) SELECT * FROM t', []],
  ['WITH c AS (SELECT * FROM t) SELECT count(*) FROM c, u', []],
  ['SELECT * FROM (WITH t AS (SELECT 1 AS id UNION ALL SELECT 9) SELECT id FROM t WHERE id > 1)', []],
  ['SELECT id FROM t WHERE id = 7 AND EXISTS (WITH t AS (SELECT 3 AS z) SELECT z FROM t)', []],
  [
    'WITH RECURSIVE c(n) AS (SELECT min(id) FROM t UNION SELECT n+1 FROM c WHERE n < (SELECT max(id) FROM t)) SELECT n FROM c',
    [],
  ],
  ['WITH c AS MATERIALIZED (SELECT n, count(*) k FROM t GROUP BY n) SELECT k FROM c ORDER BY 1', []],
  ['SELECT * FROM vw', []],
  ['SELECT vw.id FROM vw JOIN t ON t.id = vw.id AND t.n = vw.n', []],
  ['SELECT count(*) OVER w, id FROM t WINDOW w AS (PARTITION BY n)', []],
  ['SELECT id FROM t WHERE i BETWEEN 1 AND 5 OR id = 7 AND NOT id = 3', []],
  ["SELECT id FROM t WHERE NOT id = 1 AND n = 'b'", []],
  ["SELECT id FROM t WHERE id = 1 OR n = 'b' AND id = 3", []],
  ['SELECT id FROM t WHERE - id = -1 COLLATE NOCASE AND 1 < id + 1 IS 1', []],
  ["SELECT id FROM t WHERE id NOT BETWEEN 2 AND 3 AND b LIKE '_' ESCAPE '!' OR 0", []],
  ['SELECT id<<1+1, ~id & 3 | 1, id IS NOT NULL AND 1, id NOTNULL = 1, 1 IS NOT DISTINCT FROM id FROM t', []],
  ['SELECT NOT id = 1, count(*) FROM t GROUP BY NOT id = 1', []],
  ['SELECT NOT (id = 1), count(*) FROM t GROUP BY NOT id = 1', []],
  ['SELECT -id, count(*) FROM t GROUP BY - id', []],
  ["SELECT (id = 1) = '1', count(*) FROM t GROUP BY id = 1", []],
  ["SELECT i+id = '6', count(*) FROM t GROUP BY i+id", []],
  ["SELECT (i) = '5', count(*) FROM t GROUP BY (i)", []],
  ["SELECT +i = '5', count(*) FROM t GROUP BY +i", []],
  ["SELECT i = '5', max(i) = '5', count(*) FROM t GROUP BY i", []],
  ['SELECT x = 1, count(*) FROM t GROUP BY x = 1', []],
  ["SELECT n = 'TEN-A', count(*) FROM t GROUP BY n = 'TEN-A'", []],
  ['SELECT upper(n), count(*) FROM t GROUP BY upper(n)', []],
  ["SELECT v = '1', count(*) FROM u GROUP BY v", []],
  ["SELECT n = 'a', count(*) FROM u GROUP BY n", []],
  ['SELECT i FROM t UNION SELECT v FROM u', []],
  ['SELECT id FROM t EXCEPT SELECT t FROM u ORDER BY 1 LIMIT 2', []],
  ['SELECT id, n FROM t UNION ALL SELECT id, n FROM u ORDER BY n COLLATE BINARY, id', []],
  ["SELECT '1' IN (SELECT i FROM t), '1' IN (SELECT x FROM t)", []],
  ['SELECT id FROM t WHERE x IN (SELECT v FROM u)', []],
  ['SELECT id FROM u WHERE t IN t', []],
  ["SELECT id FROM u WHERE n IN (VALUES('a'))", []],
  ['SELECT (SELECT max(n) FROM u WHERE u.t = t.id), id FROM t', []],
  ['SELECT t.id, u.id FROM t, u WHERE t.id = u.t', []],
  ['SELECT t.id, u.id FROM t LEFT JOIN u USING(id) WHERE u.id IS NULL', []],
  ['SELECT * FROM t NATURAL JOIN u', []],
  ['SELECT t.id, u.id FROM t FULL JOIN u ON t.id=u.t WHERE t.id > 1 OR t.id IS NULL', []],
  ['SELECT json_each.value, id FROM t, json_each(t.j) WHERE json_valid(j)', []],
  ['SELECT "id", [n], `b` FROM "t" AS "T T" WHERE "T T"."id" = 1', []],
  ["SELECT id FROM t WHERE b = '/*+ db=x */'", []],
  ['SELECT b, n FROM t GROUP BY b, n ORDER BY b || n', []],
  ['SELECT count(*), count(*) FILTER (WHERE i > 2), sum(i > 2), max(i) FILTER (WHERE id = 99) FROM t', []],
  ['SELECT sum(i) + count(*) * 2 FROM t WHERE abs(i) < 100', []],
  ["SELECT iif(count(*) > 3, 'many', 'few') FROM t", []],
  ['SELECT count(*) FROM t WHERE 1 = 0', []],
  ['SELECT sum(i), total(i), avg(i) FROM t WHERE 1=0', []],
  ['SELECT i FROM t WHERE 0 GROUP BY i', []],
  ['SELECT cast(i AS TEXT), count(*) FROM t GROUP BY cast(i AS text)', []],
  ['SELECT total(r), avg(r) FROM t WHERE abs(r) < 10', []],
  ['SELECT max(id, i) FROM t', []],
  ['SELECT max(abs(id - 4)) FROM t', []],
  ['SELECT -9223372036854775808, 9223372036854775808, i + 1 FROM t', []],
  ['SELECT sum(id + 1.0), sum(id / 2), sum(id / 2.0) FROM t', []],
  ['SELECT TRUE, FALSE IS id, count(*) FROM t GROUP BY TRUE IS (id > 1)', []],
  ['SELECT hex(n), length(n), n FROM t', []],
  ['SELECT quote(x), count(*) FROM t GROUP BY quote(x)', []],
  ['SELECT id FROM t WHERE i > (SELECT avg(i) FROM t WHERE abs(i) < 100)', []],
  ["SELECT string_agg(id, '-' ORDER BY id, b) FROM t", []],
  ['SELECT json_group_array(id ORDER BY id) FROM t', []],
  ["SELECT x'' || id FROM t", []],
  ['SELECT id AS _ha_k0, i FROM t GROUP BY i, id ORDER BY i, id', []],
  ["SELECT date('now') = date(), time('now') IS NULL FROM t", []],
  ["SELECT id FROM t WHERE date(b) < date('now')", []],
  ["SELECT n.id FROM t AS n WHERE n.n = 'b'", []],
  ['SELECT a.id, b.id FROM t a JOIN t b ON a.id = b.id + 1', []],
  ["SELECT likely(i) = '5', count(*) FROM t GROUP BY likely(i)", []],
  ["SELECT CASE n WHEN 'TEN-A' THEN 1 END, count(*) FROM t GROUP BY n", []],
  ['SELECT count(*) FROM t GROUP BY n ORDER BY n', []],
  ['SELECT DISTINCT max(id) FROM t GROUP BY n', []],
  ["SELECT printf('%d', i), count(*) FROM t GROUP BY printf('%d', i)", []],
  ['SELECT 1 WHERE 1', []],
];

const sorted = (answer: unknown): unknown =>
  Array.isArray(answer) ? answer.map((row) => JSON.stringify(row, plain)).sort() : answer;
const plain = (_: string, value: unknown): unknown => {
  if (typeof value === 'bigint') return `${value}n`;
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
};

describe.each([
  ['with the name of their database', NAMED, WITH_SOURCE],
  ['without it', SINGLE, STATEMENTS],
])('rows of several databases, %s', (_, single, statements) => {
  let world: Differential;
  beforeAll(() => void (world = new Differential(PARTS, single)));
  afterAll(() => world.close());

  it.each(statements)('answer %s', async (sql, args) => {
    const { single: expected, several } = await world.compare(sql, args);
    expect(sorted(several)).toEqual(sorted(expected));
  });
});

it('refuses a table whose own column has the name of the one that names databases', async () => {
  const schema = 'CREATE TABLE t(a, _ha_db); CREATE VIEW v AS SELECT * FROM t';
  const world = new Differential([{ name: 'd', schema, rows: "INSERT INTO t VALUES (1, 'own')" }], schema);
  for (const sql of ['SELECT * FROM t', 'SELECT a FROM t', 'SELECT * FROM v', 'SELECT _ha_db FROM t']) {
    expect((await world.compare(sql)).several).toMatch(/column _ha_db of its own/);
  }
  world.close();
});

it('does not take an alias for a column of partial groups', async () => {
  const schema = 'CREATE TABLE t(a, b)';
  const parts = [
    { name: 'd', schema, rows: 'INSERT INTO t VALUES (1, 9), (2, 8)' },
    { name: 'e', schema, rows: 'INSERT INTO t VALUES (3, 7)' },
  ];
  const world = new Differential(parts, schema);
  const sql = 'SELECT a AS _ha_k0, b FROM t GROUP BY b, a ORDER BY b LIMIT 1';
  expect(await world.compare(sql)).toMatchObject({ plan: 'groups', several: [[3n, 7n]], single: [[3n, 7n]] });
  world.close();
});

it('streams from one database where its name is beside a collation only in other terms', async () => {
  const world = new Differential(PARTS, NAMED);
  const sql = "SELECT id, n FROM t WHERE _ha_db = 'ten-a' AND n = 'ten-A'";
  expect(await world.compare(sql)).toMatchObject({ plan: 'stream', several: [[1n, 'TEN-A']] });
  world.close();
});
