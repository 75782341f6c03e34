import { HAError } from '../../common/ha-error.js';
import { parameters } from '../../sql/params.js';
import type { Parameter } from '../../sql/params.js';
import { ArgumentList } from '../../write/executor.js';
import type { HAParameters } from '../../write/executor.js';
import type { NamedValue } from '../codec/messages.js';

const LIMIT = 1_000;

/** Brings parameters by name or number into the order in which better-sqlite3 binds them. */
export class ParameterBinder {
  private readonly known = new Map<string, Parameter[]>();

  /**
   * @returns Values in order and, behind them, an object with those that have a name.
   * @throws HAError `HA_PARAMETER_INVALID` where one is missing, or belongs to nothing in the statement.
   */
  bind(sql: string, given: readonly NamedValue[]): HAParameters | undefined {
    if (given.length === 0) return undefined;
    const wanted = this.parametersOf(sql);
    if (isInOrder(wanted, given)) return given.map(({ value }) => value);
    const offered = new Offered(given);
    const values: unknown[] = [];
    const named: Record<string, unknown> = {};
    for (const parameter of wanted) {
      const { value } = offered.take(parameter);
      if (parameter.key === undefined) values.push(value);
      else named[parameter.key] = value;
    }
    const [extra] = offered.left;
    if (extra !== undefined) throw unwanted(extra, wanted.length);
    return Object.keys(named).length === 0 ? values : ArgumentList.of(...values, named);
  }

  private parametersOf(sql: string): Parameter[] {
    let found = this.known.get(sql);
    if (found === undefined) {
      found = parameters(sql);
      if (this.known.size >= LIMIT) this.known.clear();
      // A huge statement is no statement that comes again.
      if (sql.length < 10_000) this.known.set(sql, found);
    }
    return found;
  }
}

/** Whether values without names are already in the order in which they are bound, as they are nearly always. */
function isInOrder(wanted: readonly Parameter[], given: readonly NamedValue[]): boolean {
  return (
    wanted.length === given.length &&
    wanted.every(({ key, ordinal }, at) => {
      const value = given[at];
      return key === undefined && value?.name === '' && value.ordinal === ordinal;
    })
  );
}

/** What the caller sent, each to be taken once. */
class Offered {
  readonly left: Set<NamedValue>;
  private readonly names = new Map<string, NamedValue>();
  private readonly ordinals = new Map<number, NamedValue>();

  constructor(given: readonly NamedValue[]) {
    this.left = new Set(given);
    for (const each of given) {
      if (each.name === '') this.ordinals.set(each.ordinal, each);
      else this.names.set(each.name, each);
    }
  }

  /** A name goes before a number: callers may send both. */
  take({ ordinal, name, key }: Parameter): NamedValue {
    const byName = name === undefined ? undefined : (this.names.get(name) ?? this.names.get(key ?? ''));
    const found = byName ?? this.ordinals.get(ordinal);
    if (found === undefined) {
      const what = name === undefined ? `number ${ordinal}` : `${name} (number ${ordinal})`;
      throw invalid(
        `The statement's parameter ${what} has no value. Send one, NULL as google.protobuf.Empty.`,
        ordinal,
      );
    }
    this.left.delete(found);
    return found;
  }
}

function unwanted({ name, ordinal }: NamedValue, count: number): HAError {
  const what = name === '' ? `number ${ordinal}` : `'${name}'`;
  return invalid(
    `The statement has no parameter ${what}, or it was given twice. It has ${count}; numbers begin at 1.`,
    name === '' ? ordinal : name,
  );
}

function invalid(message: string, parameter: string | number): HAError {
  return new HAError('HA_PARAMETER_INVALID', message, { details: { parameter } });
}
