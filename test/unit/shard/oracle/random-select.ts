import type { Random } from '../../../support/random.js';
import type { World } from './random-world.js';

/** The clauses of a SELECT apart, so that shrinking can leave them out. */
export interface RandomSelect {
  readonly with: string;
  readonly distinct: boolean;
  readonly columns: readonly string[];
  readonly from: string;
  readonly where: string;
  readonly groupBy: readonly string[];
  readonly having: string;
  readonly window: string;
  readonly compound: string;
  readonly orderBy: readonly string[];
  readonly limit: string;
  readonly args: readonly (null | bigint | number | string)[];
}

export function selectText(q: RandomSelect, withLimit = true): string {
  return [
    q.with,
    `SELECT ${q.distinct ? 'DISTINCT ' : ''}${q.columns.join(', ')}`,
    q.from === '' ? '' : `FROM ${q.from}`,
    q.where === '' ? '' : `WHERE ${q.where}`,
    q.groupBy.length === 0 ? '' : `GROUP BY ${q.groupBy.join(', ')}`,
    q.having === '' ? '' : `HAVING ${q.having}`,
    q.window,
    q.compound,
    q.orderBy.length === 0 ? '' : `ORDER BY ${q.orderBy.join(', ')}`,
    withLimit ? q.limit : '',
  ]
    .filter((part) => part !== '')
    .join(' ');
}

interface Relation {
  readonly alias: string;
  readonly columns: readonly string[];
}

/** Makes SELECTs over a world, of all that SQLite's grammar has for them. */
export class SelectGenerator {
  /** Parameters are numbered: clauses can be left out. */
  private args: (null | bigint | number | string)[] = [];
  private aliases = 0;
  private usesSource = false;
  /** One table and nothing nested: what databases can answer by themselves. */
  private simple = false;

  constructor(
    private readonly random: Random,
    private readonly world: World,
  ) {}

  next(): RandomSelect {
    this.args = [];
    this.aliases = 0;
    this.usesSource = this.chance(6);
    const { random } = this;
    this.simple = this.chance(2);
    if (this.simple && this.chance(2)) return this.focused();
    const cte = !this.simple && this.chance(8) ? this.commonTable() : undefined;
    const { text: from, relations } = this.from(cte);
    const where = this.chance(2) ? this.condition(relations, 2) : '';
    const shape = random.below(10);
    const base = { with: cte?.text ?? '', from, where, window: '', compound: '', having: '', groupBy: [] as string[] };
    if (shape < (this.simple ? 4 : 3)) return this.plain(base, relations);
    if (shape < 8 || this.simple) return this.grouped(base, relations);
    if (shape < 9) return this.windowed(base, relations);
    return this.compounded(base, relations);
  }

  private chance(of: number): boolean {
    return this.random.below(of) === 0;
  }

  private relationColumns(columns: readonly string[]): string[] {
    return this.usesSource ? [...columns, '_ha_db'] : [...columns];
  }

  private base(): { readonly name: string; readonly columns: string[] } {
    const { tables, views } = this.world;
    if (views.length > 0 && !this.simple && this.chance(5)) {
      const view = this.random.pick(views);
      return { name: view.name, columns: [...view.columns] };
    }
    const table = this.random.pick(tables);
    return { name: table.name, columns: this.relationColumns(table.columns.map(({ name }) => name)) };
  }

  private from(cte: { name: string; columns: string[] } | undefined): { text: string; relations: Relation[] } {
    const joins = this.usesSource ? [1, 2] : [1];
    const count = this.random.pick(this.simple ? joins : [1, 1, 1, 1, 1, 2, 2, 3]);
    const relations: Relation[] = [];
    let text = '';
    for (let i = 0; i < count; i++) {
      const alias = `x${this.aliases++}`;
      const item = this.fromItem(i === 0 ? cte : undefined);
      const own = { alias, columns: item.columns };
      if (i === 0) {
        // A table without an alias goes by its own name.
        const bare = /^[a-z]+$/.test(item.text) && this.chance(2);
        relations.push(bare ? { alias: item.text, columns: item.columns } : own);
        text = bare ? item.text : `${item.text} AS ${alias}`;
        continue;
      }
      relations.push(own);
      const link = this.joinCondition(relations);
      const join = this.random.pick([
        'JOIN',
        'JOIN',
        'LEFT JOIN',
        'LEFT JOIN',
        'CROSS JOIN',
        ',',
        'RIGHT JOIN',
        'FULL JOIN',
      ]);
      text += join === ',' ? `, ${item.text} AS ${alias}` : ` ${join} ${item.text} AS ${alias} ON ${link}`;
    }
    return { text, relations };
  }

  private fromItem(cte: { name: string; columns: string[] } | undefined): { text: string; columns: string[] } {
    if (cte !== undefined) return { text: cte.name, columns: cte.columns };
    const base = this.base();
    if (this.simple || !this.chance(8)) return { text: base.name, columns: base.columns };
    const column = this.random.pick(base.columns);
    const own = [{ alias: base.name, columns: base.columns }];
    if (this.chance(2)) {
      return {
        text: `(SELECT "${column}" AS s, count(*) AS n FROM ${base.name} GROUP BY typeof("${column}"), hex("${column}"))`,
        columns: ['n'],
      };
    }
    return { text: `(SELECT "${column}" AS s, ${this.expr(own, 1)} AS n FROM ${base.name})`, columns: ['s', 'n'] };
  }

  private joinCondition(relations: readonly Relation[]): string {
    const right = relations.at(-1) as Relation;
    const left = this.random.pick(relations.slice(0, -1));
    const equal = `${this.columnOf(left)} = ${this.columnOf(right)}`;
    if (left.columns.includes('_ha_db') && right.columns.includes('_ha_db') && !this.chance(4)) {
      return `${left.alias}._ha_db = ${right.alias}._ha_db AND ${equal}`;
    }
    return this.chance(3) ? `${equal} AND ${this.condition(relations, 1)}` : equal;
  }

  private columnOf({ alias, columns }: Relation): string {
    return `${alias}."${this.random.pick(columns)}"`;
  }

  private column(relations: readonly Relation[]): string {
    const relation = this.random.pick(relations);
    const name = this.random.pick(relation.columns);
    const isUnique = relations.length === 1;
    return isUnique && this.chance(2) ? this.quoted(name) : `${relation.alias}.${this.quoted(name)}`;
  }

  private quoted(name: string): string {
    if (!/^[a-z_]+$/.test(name)) return this.random.pick([`"${name}"`, `[${name}]`, `\`${name}\``]);
    return this.random.pick([name, name.toUpperCase(), `"${name}"`]);
  }

  private literal(): string {
    if (this.chance(5)) return this.parameter();
    return this.random.pick([
      '0',
      '1',
      '2',
      '10',
      '-1',
      '1.5',
      "'a'",
      "'B'",
      "''",
      "'10'",
      'NULL',
      "x'61'",
      '0x10',
      '1_0',
      'TRUE',
    ]);
  }

  private parameter(): string {
    this.args.push(this.random.pick([1n, 2n, 10n, -1n, 'a', 'B', '', null, 0.5, 3]));
    return `?${this.args.length}`;
  }

  private expr(relations: readonly Relation[], depth: number): string {
    const { random } = this;
    if (depth <= 0 || this.chance(3)) return this.chance(4) ? this.literal() : this.column(relations);
    const inner = (): string => this.expr(relations, depth - 1);
    return random.pick<() => string>(
      [
        () => `${inner()} + ${inner()}`,
        () => `(${inner()} * 2)`,
        () => `${inner()} || ${inner()}`,
        () => `coalesce(${inner()}, ${inner()})`,
        () => `upper(${inner()})`,
        () => `length(${inner()})`,
        () => `typeof(${inner()})`,
        () => `CASE WHEN ${this.condition(relations, depth - 1)} THEN ${inner()} ELSE ${inner()} END`,
        () => `CAST(${inner()} AS ${random.pick(['TEXT', 'INTEGER', 'REAL', 'NUMERIC', 'BLOB'])})`,
        () => `${inner()} /* a comment */ - ${inner()}`,
        () => `max(${inner()}, ${inner()})`,
        () => `nullif(${inner()}, ${inner()})`,
        () => `iif(${this.condition(relations, depth - 1)}, ${inner()}, ${inner()})`,
        () => `date(${inner()})`,
        () => `substr(${inner()}, 1, 1)`,
        () => (this.simple ? `abs(length(${inner()}))` : this.scalarSubquery(relations)),
        () => `${inner()} COLLATE ${random.pick(['NOCASE', 'BINARY', 'RTRIM'])}`,
        () => `-${inner()}`.replace('--', '- -'),
        () => `(${inner()} = ${inner()})`,
        () => `hex(${inner()})`,
        () => `likely(${inner()})`,
      ].slice(0, this.simple && !this.chance(10) ? 16 : undefined),
    )();
  }

  private scalarSubquery(outer: readonly Relation[]): string {
    const base = this.base();
    const alias = `s${this.aliases++}`;
    const own = [{ alias, columns: base.columns }];
    const test = this.chance(2)
      ? `${this.columnOf(own[0] as Relation)} = ${this.column(outer)}`
      : this.condition(own, 1);
    return `(SELECT ${this.random.pick(['count(*)', 'max', 'min'])} FROM ${base.name} AS ${alias} WHERE ${test})`.replace(
      /SELECT (max|min) /,
      (_, name: string) => `SELECT ${name}(${this.columnOf(own[0] as Relation)}) `,
    );
  }

  private condition(relations: readonly Relation[], depth: number): string {
    const { random } = this;
    const expr = (): string => this.expr(relations, depth - 1);
    return random.pick<() => string>(
      [
        () => `${expr()} ${random.pick(['=', '<', '>', '<=', '>=', '<>', 'IS', 'IS NOT', '==', '!='])} ${expr()}`,
        () => `${this.column(relations)} ${random.pick(['=', '<', '>'])} ${this.literal()}`,
        () => `${this.column(relations)} IS ${random.pick(['', 'NOT '])}NULL`,
        () => `${expr()} BETWEEN ${expr()} AND ${expr()}`,
        () => `${this.column(relations)} IN (${this.literal()}, ${this.literal()}, ${this.literal()})`,
        () => `${this.column(relations)} LIKE ${random.pick(["'a%'", "'%b%'", "'_'"])}`,
        () => `${this.column(relations)} GLOB 'a*'`,
        () => `(${this.condition(relations, depth - 1)} OR ${this.condition(relations, depth - 1)})`,
        () => `${this.condition(relations, depth - 1)} AND ${this.condition(relations, depth - 1)}`,
        () => `NOT (${this.condition(relations, depth - 1)})`,
        () => this.subqueryCondition(relations),
      ].slice(0, depth <= 0 ? 3 : this.simple ? 10 : undefined),
    )();
  }

  private subqueryCondition(outer: readonly Relation[]): string {
    const base = this.base();
    const alias = `e${this.aliases++}`;
    const own = { alias, columns: base.columns };
    return this.chance(2)
      ? `EXISTS (SELECT 1 FROM ${base.name} AS ${alias} WHERE ${this.columnOf(own)} = ${this.column(outer)})`
      : `${this.column(outer)} ${this.random.pick(['IN', 'NOT IN'])} (SELECT ${this.columnOf(own)} FROM ${base.name} AS ${alias})`;
  }

  private commonTable(): { text: string; name: string; columns: string[] } {
    if (this.chance(3)) {
      return {
        text: 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5)',
        name: 'c',
        columns: ['n'],
      };
    }
    const base = this.base();
    const own = [{ alias: base.name, columns: base.columns }];
    const where = this.chance(2) ? ` WHERE ${this.condition(own, 1)}` : '';
    return {
      text: `WITH c(n, m) AS ${this.random.pick(['', 'MATERIALIZED ', 'NOT MATERIALIZED '])}(SELECT ${this.column(own)}, ${this.expr(own, 1)} FROM ${base.name}${where})`,
      name: 'c',
      columns: ['n', 'm'],
    };
  }

  private limit(): string {
    if (!this.chance(3)) return '';
    const { random } = this;
    const count = this.chance(4) ? this.integerParameter() : String(random.pick([0, 1, 2, 5, 20, -1]));
    return random.pick([
      `LIMIT ${count}`,
      `LIMIT ${count} OFFSET ${random.below(4)}`,
      `LIMIT ${random.below(4)}, ${count}`,
    ]);
  }

  private integerParameter(): string {
    this.args.push(this.random.pick([1n, 3n, 10, 0]));
    return `?${this.args.length}`;
  }

  private direction(): string {
    return this.random.pick(['', ' ASC', ' DESC', ' DESC NULLS LAST', ' NULLS FIRST', ' NULLS LAST']);
  }

  /** Sometimes by everything, which decides the order; sometimes by what comes to mind. */
  private orderBy(columns: readonly string[], relations: readonly Relation[] | undefined): string[] {
    if (this.chance(3)) return [];
    const ordinals = columns.flatMap((column, i) =>
      column.includes('*') && !column.includes('(') ? [] : [String(i + 1)],
    );
    if (this.chance(2) || relations === undefined) return ordinals.map((ordinal) => ordinal + this.direction());
    return [`${this.expr(relations, 1)}${this.direction()}`, ...ordinals];
  }

  private plain(
    base: Pick<RandomSelect, 'with' | 'from' | 'where' | 'window' | 'compound' | 'having' | 'groupBy'>,
    relations: readonly Relation[],
  ): RandomSelect {
    const { random } = this;
    const columns = this.chance(4)
      ? [random.pick(['*', `${random.pick(relations).alias}.*`])]
      : Array.from(
          { length: 1 + random.below(3) },
          (_, i) => this.expr(relations, 2) + (this.chance(3) ? ` AS ${random.pick(['a', 'z', 'b'])}${i}` : ''),
        );
    const distinct = this.chance(4);
    return {
      ...base,
      distinct,
      columns,
      orderBy: this.orderBy(columns, distinct ? undefined : relations),
      limit: this.limit(),
      args: this.args,
    };
  }

  /** What goes wrong first where rows are left out, or put together from parts. */
  private focused(): RandomSelect {
    const { random } = this;
    const { name, columns: names } = this.base();
    const own: Relation = { alias: name, columns: names };
    const column = (): string => this.columnOf(own);
    const compare = (left: string): string => `${left} ${random.pick(['=', '<', '>', '>=', '<>'])} ${this.literal()}`;
    const none = {
      with: '',
      distinct: false,
      from: name,
      where: '',
      groupBy: [],
      having: '',
      window: '',
      compound: '',
      orderBy: [],
      limit: '',
    };
    const where = this.chance(3) ? compare(column()) : '';
    switch (random.pick([0, 1, 2, 3, 4, 5, 5, 6, 7, 8])) {
      case 0: {
        const columns = [column(), this.chance(2) ? column() : this.expr([own], 1), column()];
        const orderBy = [
          `${column()}${random.pick(['', ' COLLATE NOCASE'])}${this.direction()}`,
          '1',
          `3${this.direction()}`,
          '2',
        ];
        const limit = `LIMIT ${1 + random.below(4)} OFFSET ${random.below(6)}`;
        return { ...none, columns, where, orderBy, limit, args: this.args };
      }
      case 1: {
        const key = column();
        const columns = [
          compare(key),
          compare(key),
          `typeof(${key})`,
          `${key} IN (${this.literal()}, ${this.literal()})`,
          'count(*)',
        ];
        return { ...none, columns, where, groupBy: [key], having: this.chance(2) ? compare(key) : '', args: this.args };
      }
      case 2: {
        const key = this.chance(2) ? `length(${column()})` : this.expr([own], 1);
        const other = column();
        const columns = [`(${key}) = ${other}`, `(${key}) > ${other}`, compare(`(${key})`), 'count(*)'];
        return { ...none, columns, where, groupBy: [key, other], args: this.args };
      }
      case 3: {
        const right = this.base();
        const other: Relation = { alias: 'r', columns: right.columns };
        const z = this.columnOf(other);
        return {
          ...none,
          from: `${name} LEFT JOIN ${right.name} AS r ON ${column()} = ${this.columnOf(other)}`,
          columns: [column(), 'count(*)'],
          groupBy: [`typeof(${column()})`, '1'],
          where: random.pick([
            `${z} IS NULL`,
            `coalesce(${z}, 0) = 0`,
            `${z} IS NOT ${this.literal()}`,
            `${z} IS ${this.literal()}`,
          ]),
          args: this.args,
        };
      }
      case 4: {
        const key = `${column()} COLLATE ${random.pick(['NOCASE', 'RTRIM', 'BINARY'])}`;
        const columns = [
          this.chance(2) ? `upper(trim(min(${key})))` : `min(length(${column()}))`,
          'count(*)',
          `sum(length(${column()}))`,
        ];
        return {
          ...none,
          columns,
          where,
          groupBy: this.chance(4) ? [] : [random.pick([key, `(${key} = 'A')`, `(${column()} > ${column()})`])],
          args: this.args,
        };
      }
      case 5: {
        const text = this.textColumn(own);
        const key = random.pick([`${text} COLLATE NOCASE`, `${text} COLLATE RTRIM`, `+${text}`]);
        const columns = ['count(*)', ...(this.chance(2) ? [`count(${column()})`] : [])];
        return { ...none, columns, where: this.chance(2) ? '' : where, groupBy: [key], args: this.args };
      }
      case 7: {
        const columns = [random.pick(['count(*)', column()])];
        const pair = random.pick([`_ha_db = ${this.textColumn(own)}`, `${this.textColumn(own)} = _ha_db`]);
        return { ...none, columns, where: pair, args: this.args };
      }
      case 6: {
        const type = random.pick(['TEXT', 'INTEGER', 'REAL', 'NUMERIC']);
        const key = random.pick([`CAST(${column()} AS ${type})`, `likely(${column()})`]);
        const other = column();
        const columns = [`${key} = '1'`, `${key} = 1`, `${key} = ${other}`, compare(key), 'count(*)'];
        return { ...none, columns, where, groupBy: [key, other], args: this.args };
      }
      default: {
        const columns = [
          `sum(${column()})`,
          `avg(${column()})`,
          `total(${this.expr([own], 1)})`,
          `count(${column()})`,
          `max(${column()})`,
        ];
        const groupBy = this.chance(3) ? [] : [`typeof(${column()})`];
        return {
          ...none,
          columns,
          where,
          groupBy,
          having: this.chance(3) ? compare(`sum(${column()})`) : '',
          args: this.args,
        };
      }
    }
  }

  /** One that holds texts, where there is any. */
  private textColumn({ alias, columns }: Relation): string {
    const table = this.world.tables.find(({ name }) => name === alias);
    const texts = (table?.columns ?? []).filter(({ declared }) => /TEXT|CHAR/.test(declared));
    return `${alias}."${this.random.pick(texts.length > 0 ? texts.map(({ name }) => name) : columns)}"`;
  }

  private aggregate(relations: readonly Relation[]): string {
    const { random } = this;
    const column = (): string => (this.chance(3) ? this.expr(relations, 1) : this.column(relations));
    const call = random.pick<() => string>(
      [
        () => 'count(*)',
        () => `count(${column()})`,
        () => `COUNT ( ${column()} )`,
        () => `sum(${column()})`,
        () => `"sum"(${column()})`,
        () => `total(${column()})`,
        () => `avg(${column()})`,
        () => `min(${column()})`,
        () => `max(${column()})`,
        () => `count(${column()})`,
        () => `count(DISTINCT ${column()})`,
        () => `sum(DISTINCT ${column()})`,
        () => `group_concat(${column()}, ';' ORDER BY 1)`.replace('ORDER BY 1', `ORDER BY hex(${column()})`),
        () => `group_concat(DISTINCT ${column()})`,
      ].slice(0, this.simple && !this.chance(8) ? 10 : undefined),
    )();
    return this.chance(6) ? `${call} FILTER (WHERE ${this.condition(relations, 1)})` : call;
  }

  private grouped(
    base: Pick<RandomSelect, 'with' | 'from' | 'where' | 'window' | 'compound' | 'having' | 'groupBy'>,
    relations: readonly Relation[],
  ): RandomSelect {
    const { random } = this;
    const keys = Array.from({ length: random.below(3) }, () =>
      this.chance(3) ? this.expr(relations, 2) : this.column(relations),
    );
    const columns: string[] = [];
    const groupBy: string[] = [];
    for (const [i, key] of keys.entries()) {
      const how = random.below(4);
      if (how === 0) {
        columns.push(key);
        groupBy.push(String(columns.length));
      } else if (how === 1) {
        columns.push(`${key} AS k${i}`);
        groupBy.push(`k${i}`);
      } else {
        if (how === 2) columns.push(this.chance(2) ? key : `typeof(${key})`);
        groupBy.push(key);
      }
    }
    for (let i = random.below(3) + (columns.length === 0 ? 1 : 0); i > 0; i--) {
      columns.push(this.chance(4) ? `${this.aggregate(relations)} + 1 AS g${i}` : this.aggregate(relations));
    }
    const having = this.chance(4)
      ? random.pick([
          `${this.aggregate(relations)} > 1`,
          'count(*) > 1',
          ...(keys.length > 0 ? [`${keys[0] as string} IS NOT NULL`] : []),
        ])
      : '';
    const orderBy =
      this.chance(4) && keys.length > 0
        ? [keys[0] as string, ...columns.map((_, i) => String(i + 1))]
        : this.orderBy(columns, undefined);
    return {
      ...base,
      distinct: this.chance(8),
      columns,
      groupBy,
      having: groupBy.length > 0 || columns.some((c) => /\(/.test(c)) ? having : '',
      orderBy,
      limit: this.limit(),
      args: this.args,
    };
  }

  private windowed(
    base: Pick<RandomSelect, 'with' | 'from' | 'where' | 'window' | 'compound' | 'having' | 'groupBy'>,
    relations: readonly Relation[],
  ): RandomSelect {
    const all = relations
      .flatMap(({ alias, columns }) =>
        columns.map((column) => `typeof(${alias}."${column}"), hex(${alias}."${column}")`),
      )
      .join(', ');
    const partition = this.chance(2) ? `PARTITION BY ${this.column(relations)} ` : '';
    const call = this.random.pick([
      'row_number()',
      `count(*)`,
      `sum(${this.column(relations)})`,
      `max(${this.column(relations)})`,
      `lag(${this.column(relations)})`,
      'rank()',
    ]);
    const columns = [`${call} OVER win`, this.column(relations), `count(*) OVER (${partition})`];
    return {
      ...base,
      window: `WINDOW win AS (${partition}ORDER BY ${all})`,
      distinct: this.chance(6),
      columns,
      orderBy: this.orderBy(columns, undefined),
      limit: this.limit(),
      args: this.args,
    };
  }

  private compounded(
    base: Pick<RandomSelect, 'with' | 'from' | 'where' | 'window' | 'compound' | 'having' | 'groupBy'>,
    relations: readonly Relation[],
  ): RandomSelect {
    const width = 1 + this.random.below(2);
    const columns = Array.from({ length: width }, () => this.expr(relations, 1));
    const { text, relations: others } = this.from(undefined);
    const right = Array.from({ length: width }, () => this.expr(others, 1)).join(', ');
    const operator = this.random.pick(['UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT']);
    return {
      ...base,
      compound: `${operator} SELECT ${right} FROM ${text}`,
      distinct: false,
      columns,
      orderBy: this.orderBy(columns, undefined),
      limit: this.limit(),
      args: this.args,
    };
  }
}
