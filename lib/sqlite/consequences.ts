import { foldCase } from '../sql/identifiers.js';
import { bodyBefore } from '../sql/trigger-part.js';

/** A foreign key of a table. */
export interface ForeignKey {
  readonly child: string;
  readonly parent: string;
  /** True where it does something on its own. */
  readonly actions: boolean;
}

interface TriggerText {
  readonly table: string;
  readonly sql: string | null;
}

/** What a change of a row may lead to: a change in its own table. */
export interface Consequences {
  /** Foreign key actions may. They run behind the change, in front of AFTER triggers. */
  ofActions(table: string): boolean;
  /** A BEFORE UPDATE or BEFORE DELETE trigger on the table may. */
  ofTriggersBefore(table: string): boolean;
}

/**
 * Says where changes may lead. Of triggers it is only asked whether a table, or a view that has triggers, is named in their
 * text: that says yes too often, and never no where it is yes.
 */
export function consequences(keys: readonly ForeignKey[], triggers: readonly TriggerText[]): Consequences {
  const acting = keys.filter((key) => key.actions);
  const children = groupBy(acting.map(({ child, parent }) => [foldCase(parent), foldCase(child)] as const));
  const texts = groupBy(triggers.map(({ table, sql }) => [foldCase(table), foldCase(sql ?? '')] as const));
  const names = [...new Set([...children.keys(), ...texts.keys()])];
  const next = (name: string): string[] => [
    ...(children.get(name) ?? []),
    ...names.filter((other) => (texts.get(name) ?? []).some((text) => mentions(text, other))),
  ];
  const reaches = (target: string, first: readonly string[]): boolean => {
    const seen = new Set<string>();
    const open = [...first];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (name === target) return true;
      if (!seen.has(name)) open.push(...next(name));
      seen.add(name);
    }
    return false;
  };
  return {
    ofActions: (table) => reaches(foldCase(table), children.get(foldCase(table)) ?? []),
    ofTriggersBefore: (table) => {
      const target = foldCase(table);
      const bodies = triggers
        .filter((trigger) => foldCase(trigger.table) === target)
        .flatMap(({ sql }) => bodyBefore(sql ?? '') ?? [])
        .map(foldCase);
      return reaches(
        target,
        names.filter((name) => bodies.some((body) => mentions(body, name))),
      );
    },
  };
}

function mentions(text: string, name: string): boolean {
  return [name, name.replaceAll('"', '""'), name.replaceAll('`', '``')].some((each) => text.includes(each));
}

function groupBy(pairs: readonly (readonly [string, string])[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [key, value] of pairs) groups.set(key, [...(groups.get(key) ?? []), value]);
  return groups;
}
