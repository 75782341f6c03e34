import { closest } from 'fastest-levenshtein';

/** The name that looks most like `name`; upper and lower case count as equal. */
export function nearest(name: string, names: readonly string[]): string {
  const match = closest(
    name.toLowerCase(),
    names.map((candidate) => candidate.toLowerCase()),
  );
  return names.find((candidate) => candidate.toLowerCase() === match) ?? match;
}
