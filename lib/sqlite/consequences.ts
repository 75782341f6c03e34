import { foldCase } from '../sql/identifiers.js';

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

/**
 * Says whether foreign key actions on a table may lead to a change of that same table. Of triggers it is only asked whether
 * a table, or a view that has triggers, is named in their text: that says yes too often, and never no where it is yes.
 */
export function consequences(
  keys: readonly ForeignKey[],
  triggers: readonly TriggerText[],
): (table: string) => boolean {
  const acting = keys.filter((key) => key.actions);
  const children = groupBy(acting.map(({ child, parent }) => [foldCase(parent), foldCase(child)] as const));
  if (children.size === 0) return () => false;
  const texts = groupBy(triggers.map(({ table, sql }) => [foldCase(table), foldCase(sql ?? '')] as const));
  const names = [...new Set([...children.keys(), ...texts.keys()])];
  const next = (name: string): string[] => [
    ...(children.get(name) ?? []),
    ...names.filter((other) => (texts.get(name) ?? []).some((text) => mentions(text, other))),
  ];
  return (table) => {
    const target = foldCase(table);
    const seen = new Set<string>();
    const open = [...(children.get(target) ?? [])];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (name === target) return true;
      if (!seen.has(name)) open.push(...next(name));
      seen.add(name);
    }
    return false;
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
