import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { OpenRows } from './open-rows.js';
import type { Asker } from './remote-executor.js';

type Request = Omit<QueryRequest, 'replicationId'>;

/** One call's turn. */
interface Turn {
  readonly leave: () => void;
  isWaitedFor(): boolean;
}

/**
 * Calls of one session, one after another: a session takes a request when it has answered the one before. Rows that are
 * taken one by one hold up nobody: when another call comes, their rest is kept in memory.
 */
export class SerialAsker implements Asker {
  private last: Promise<void> = Promise.resolve();
  private rows: OpenRows | undefined;
  private settling = false;
  private closed = false;

  /** @param closedError What calls fail with when it is closed. */
  constructor(
    private readonly inner: Asker,
    private readonly closedError: () => Error,
  ) {}

  get isClosed(): boolean {
    return this.closed;
  }

  async *stream(request: Request): AsyncGenerator<QueryResponse> {
    const turn = await this.enter();
    const rows = new OpenRows(this.inner.stream(request), turn.leave);
    this.rows = rows;
    if (this.settling) void rows.drop(this.closedError());
    else if (turn.isWaitedFor()) void rows.keep();
    try {
      for (let answer = await rows.next(); answer !== undefined; answer = await rows.next()) yield answer;
    } finally {
      await rows.drop();
    }
  }

  async all(request: Request, onlyFirst: boolean): Promise<QueryResponse[]> {
    const { leave } = await this.enter();
    try {
      return await this.inner.all(request, onlyFirst);
    } finally {
      leave();
    }
  }

  /** Takes no more calls, not even those that wait. */
  close(): void {
    this.closed = true;
  }

  /** Resolves when every call has ended, and closes; rows that nobody has taken are dropped. */
  async settle(): Promise<void> {
    this.settling = true;
    void this.rows?.drop(this.closedError());
    for (let last; last !== this.last;) {
      last = this.last;
      await last;
    }
    this.closed = true;
  }

  /** Resolves when the calls before have ended. */
  private async enter(): Promise<Turn> {
    if (this.closed) throw this.closedError();
    const before = this.last;
    let leave: () => void = () => undefined;
    const mine = new Promise<void>((resolve) => (leave = resolve));
    this.last = mine;
    void this.rows?.keep();
    await before;
    if (!this.closed) return { leave, isWaitedFor: () => this.last !== mine };
    leave();
    throw this.closedError();
  }
}
