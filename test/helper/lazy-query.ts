import { QueryPromise } from 'drizzle-orm';

/** A query as builders make them: it is no `Promise`, and begins where it is awaited. */
export class LazyQuery<R> extends QueryPromise<R> {
  constructor(private readonly work: () => Promise<R>) {
    super();
  }

  override execute(): Promise<R> {
    return this.work();
  }
}
