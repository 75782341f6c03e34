import { currentWitness } from '../common/write-witness.js';
import type { Member } from './member.js';

/**
 * A member whose place in the stream is noted for the request that it belongs to. What wrote nothing is noted where the database
 * stands: a request that found its work done already must lead to what it found.
 *
 * @param database The database that writes.
 * @param received Where it stands when the member is answered; undefined without a stream.
 */
export function witnessed(database: object, member: Member, received: () => number | undefined): Member {
  const witness = currentWitness();
  if (witness === undefined) return member;
  return {
    ...member,
    resolve: (value, sequence) => {
      witness.note(database, sequence ?? received());
      member.resolve(value, sequence);
    },
  };
}
