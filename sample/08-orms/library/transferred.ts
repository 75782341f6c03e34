import { BadRequestException, ConflictException, NotFoundException } from '@nestjs/common';
import type { Transfer, Transferred } from './library.js';

/** How many copies both books have behind a transfer. */
export function transferred(
  books: readonly { readonly id: number; readonly copies: number }[],
  { from, to, copies }: Transfer,
): Transferred {
  if (from === to) throw new BadRequestException('These are not two books.');
  const source = books.find(({ id }) => id === from);
  const target = books.find(({ id }) => id === to);
  if (source === undefined || target === undefined) throw new NotFoundException('There is no such book.');
  if (source.copies < copies) throw new ConflictException(`There are ${source.copies} copies of book ${from}.`);
  return { from: source.copies - copies, to: target.copies + copies };
}
