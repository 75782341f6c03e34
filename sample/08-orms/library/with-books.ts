import type { Author, Book } from './library.js';

/** Authors with their books, for where SQL gives them in two lists. */
export function withBooks(
  authors: readonly Omit<Author, 'books'>[],
  books: readonly (Book & { readonly author: number })[],
): Author[] {
  const byAuthor = new Map(authors.map(({ id }) => [id, [] as Book[]]));
  for (const { author, ...book } of books) byAuthor.get(author)?.push(book);
  return authors.map(({ id, name }) => ({ id, name, books: byAuthor.get(id) ?? [] }));
}
