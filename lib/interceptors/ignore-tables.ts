import type { HAInterceptor } from '../changeset/interceptor.js';

/**
 * Leaves out the rows of some tables, on every node, their writer's too: what is written there resolves, and changes nothing.
 * Statements pass: the tables themselves are made and altered, and virtual tables of these names are written to.
 *
 * @param tables Names, in any case of letters.
 */
export function IgnoreTables(...tables: string[]): HAInterceptor {
  return { name: `IgnoreTables(${tables.join(', ')})`, tables, beforeRow: () => 'skip' };
}
