import { isDeepStrictEqual } from 'node:util';
import type { Author, Transferred } from '../library/library.js';
import { emptyTally, get, send } from './client.js';
import type { Answer } from './client.js';
import type { Node } from './node.js';

/** Books that all clients move copies between: few, so that they are in each other's way. */
const CONTENDED = 3;
const COPIES = 50;

/** What was found at the end. */
export interface Findings {
  /** Both nodes list the same. */
  readonly areEqual: boolean;
  /** Every book has exactly the copies that the answers add up to. */
  readonly isExact: boolean;
  readonly authors: number;
  readonly books: number;
}

/** The resource of one ORM, at both nodes, and what it has to hold by the answers that were given. */
export class Resource {
  readonly tally = emptyTally();
  /** Answers that must not be. */
  readonly wrong: string[] = [];
  private readonly created: Author[] = [];
  /** Copies by book. */
  private readonly expected = new Map<number, number>();

  constructor(
    readonly name: string,
    private readonly nodes: readonly Node[],
  ) {}

  /** Creates authors at both nodes, all at once. */
  async create(authors: number): Promise<void> {
    await Promise.all(Array.from({ length: authors }, (_, index) => this.createOne(index)));
  }

  /** Moves copies to and fro, with so many clients at once. */
  async transfer(clients: number, each: number): Promise<void> {
    const books = [...this.expected.keys()].slice(0, CONTENDED);
    const client = async (index: number): Promise<void> => {
      for (let round = 0; round < each; round++) await this.transferOne(index, index + round, books);
    };
    await Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
  }

  /** Compares what both nodes list with each other, and with the answers. */
  async compare(): Promise<Findings> {
    const [one, other] = await Promise.all(this.nodes.map((node) => get<Author[]>(`${node.url}/${this.name}/authors`)));
    const expected = this.created
      .map(({ id, name, books }) => ({ id, name, books: books.map((book) => this.asExpected(book)) }))
      .sort((a, b) => a.id - b.id);
    return {
      areEqual: isDeepStrictEqual(one, other),
      isExact: isDeepStrictEqual(one, expected),
      authors: one?.length ?? 0,
      books: one?.reduce((sum, { books }) => sum + books.length, 0) ?? 0,
    };
  }

  private async createOne(index: number): Promise<void> {
    const titles = ['first', 'second'].map((title) => ({ title: `${title} of ${index}`, copies: COPIES }));
    const answer = await this.send(index, 'authors', { name: `author ${index}`, books: titles });
    if (answer.status !== 201) return this.complain('authors', answer);
    const author = answer.body as Author;
    this.created.push(author);
    for (const { id, copies } of author.books) this.expected.set(id, copies);
  }

  private async transferOne(client: number, round: number, books: readonly number[]): Promise<void> {
    const from = books[round % books.length] as number;
    const to = books[(round + 1 + (client % (books.length - 1))) % books.length] as number;
    const copies = 1 + (round % 7);
    const answer = await this.send(client, 'transfers', { from, to, copies });
    if (answer.status === 409) {
      this.tally.refused++;
    } else if (answer.status === 201 && isTransferred(answer.body)) {
      this.add(from, -copies);
      this.add(to, copies);
    } else {
      this.complain('transfers', answer);
    }
  }

  private send(index: number, path: string, body: unknown): Promise<Answer> {
    const node = this.nodes[index % this.nodes.length] as Node;
    return send(`${node.url}/${this.name}/${path}`, body, this.tally);
  }

  private add(book: number, copies: number): void {
    this.expected.set(book, (this.expected.get(book) ?? 0) + copies);
  }

  private asExpected({ id, title }: Author['books'][number]): Author['books'][number] {
    return { id, title, copies: this.expected.get(id) ?? 0 };
  }

  private complain(path: string, { status, body }: Answer): void {
    this.wrong.push(`POST /${this.name}/${path}: ${status} ${JSON.stringify(body)}`);
  }
}

function isTransferred(body: unknown): body is Transferred {
  const { from, to } = body as Partial<Transferred>;
  return Number.isInteger(from) && Number.isInteger(to) && Number(from) >= 0;
}
