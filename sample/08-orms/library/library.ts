/** A book, of which there are so many copies. */
export interface Book {
  readonly id: number;
  readonly title: string;
  readonly copies: number;
}

export interface Author {
  readonly id: number;
  readonly name: string;
  readonly books: readonly Book[];
}

export interface NewAuthor {
  readonly name: string;
  readonly books: readonly Omit<Book, 'id'>[];
}

/** Copies that go from one book to another, by their ids. */
export interface Transfer {
  readonly from: number;
  readonly to: number;
  readonly copies: number;
}

/** How many copies both have then. */
export interface Transferred {
  readonly from: number;
  readonly to: number;
}

/** What each of the libraries does, on the ORM of its own. */
export interface Library {
  /** Authors and their books, both by id. */
  list(): Promise<Author[]>;
  /** An author with books: all of it or nothing. */
  create(author: NewAuthor): Promise<Author>;
  /** Reads two books, and writes what it has reckoned from that. */
  transfer(transfer: Transfer): Promise<Transferred>;
}
