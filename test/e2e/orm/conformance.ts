import { readFileSync } from 'node:fs';

/** One check: what it gives, or how it fails, has to be the same over both drivers. */
export type Check<Subject> = readonly [name: string, work: (subject: Subject) => PromiseLike<unknown>];

/** What came of a check. */
export interface Outcome {
  readonly name: string;
  readonly value?: unknown;
  readonly error?: unknown;
}

/** Runs checks one after another, each on a database as `fresh` leaves it. */
export async function outcomes<Subject>(
  checks: readonly Check<Subject>[],
  subject: Subject,
  fresh: (subject: Subject) => Promise<void>,
): Promise<Outcome[]> {
  const list: Outcome[] = [];
  for (const [name, work] of checks) {
    await fresh(subject);
    try {
      list.push({ name, value: await work(subject) });
    } catch (error) {
      const { name: kind, message, code } = error as Error & { code?: string };
      // Knex calls the table that it builds anew by chance.
      list.push({
        name,
        error: { kind, message: message.replaceAll(/_knex_temp_alter\d+/g, '_knex_temp_alter'), code },
      });
    }
  }
  return list;
}

/** The checks that fail: those that are meant to. */
export function failing(list: readonly Outcome[]): string[] {
  return list.filter(({ error }) => error !== undefined).map(({ name }) => name);
}

/** The number of checks stands in the table of README. */
export function expectInReadme(name: string, checks: number): void {
  const row = readFileSync('README.md', 'utf8')
    .split('\n')
    .find((line) => line.startsWith(`| ${name} `));
  expect(row?.split('|').map((cell) => cell.trim())).toEqual(expect.arrayContaining([String(checks)]));
}
