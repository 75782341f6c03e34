import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { answeredError, statusError, timedOut, unavailable } from './remote-errors.js';

export type QueryStream = ClientDuplexStream<QueryRequest, QueryResponse>;

/** Answers that are kept until they are taken. */
const KEPT = 4;

/** One stream of `Query`: a request, its answers, the next request. */
export class RemoteSession {
  private readonly answers: QueryResponse[] = [];
  private waiting: { resolve: (answer: QueryResponse) => void; reject: (error: Error) => void } | undefined;
  /** Why nothing can be asked any more. */
  private failure: Error | undefined;
  /** Called when the stream has ended. */
  onEnd: () => void = () => undefined;
  /** Rows are still to come. */
  private unfinished = false;
  /** When the answer that is waited for has to be there. */
  private deadline = 0;
  private timeoutMs = 0;
  private timer: NodeJS.Timeout | undefined;
  /** When the timer fires. */
  private wakes = 0;

  constructor(
    private readonly stream: QueryStream,
    private readonly address: string,
  ) {
    stream.on('data', (answer: QueryResponse) => this.receive(answer));
    stream.on('error', (error: ServiceError) => this.end(statusError(error, address)));
    stream.on('end', () => this.end(unavailable(address, 'it ended the session')));
  }

  /** False where it has ended. */
  get isAlive(): boolean {
    return this.failure === undefined;
  }

  /** False where it has ended, or is in the middle of rows. */
  get isReusable(): boolean {
    return this.isAlive && !this.unfinished;
  }

  /**
   * Sends a request, and resolves with its first answer.
   *
   * @throws whatever the statement failed with; `HA_UNAVAILABLE`, `HA_REMOTE_TIMEOUT` and the like where the session is over.
   */
  async ask(request: QueryRequest, timeoutMs: number): Promise<QueryResponse> {
    if (this.failure !== undefined) throw this.failure;
    this.stream.write(request);
    return this.next(timeoutMs);
  }

  /** The next part of the answer. */
  async next(timeoutMs: number): Promise<QueryResponse> {
    this.unfinished = true;
    const answer = this.answers.shift() ?? (await this.arrival(timeoutMs));
    this.unfinished = answer.more;
    if (answer.error !== '') throw answeredError(answer);
    return answer;
  }

  /** Breaks the stream off; the server rolls back. */
  cancel(): void {
    this.failure ??= unavailable(this.address, 'the session was given up');
    clearTimeout(this.timer);
    this.stream.cancel();
  }

  private arrival(timeoutMs: number): Promise<QueryResponse> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    this.stream.resume();
    this.watch(timeoutMs);
    return new Promise((resolve, reject) => (this.waiting = { resolve, reject }));
  }

  /** One timer serves all requests, one after another: making and clearing one for each costs more than the rest of a call. */
  private watch(timeoutMs: number): void {
    this.deadline = performance.now() + timeoutMs;
    this.timeoutMs = timeoutMs;
    if (this.timer !== undefined && this.deadline >= this.wakes) return;
    clearTimeout(this.timer);
    this.sleep(timeoutMs);
  }

  private sleep(ms: number): void {
    this.wakes = performance.now() + ms;
    // The stream itself keeps the process running, while it is open.
    this.timer = setTimeout(() => this.look(), Math.ceil(ms)).unref();
  }

  private look(): void {
    this.timer = undefined;
    if (this.waiting === undefined || this.failure !== undefined) return;
    const left = this.deadline - performance.now();
    if (left > 0) return this.sleep(left);
    this.end(timedOut(this.address, this.timeoutMs));
    this.stream.cancel();
  }

  private receive(answer: QueryResponse): void {
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting !== undefined) waiting.resolve(answer);
    else if (this.answers.push(answer) >= KEPT) this.stream.pause();
  }

  private end(failure: Error): void {
    this.failure ??= failure;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting?.reject(this.failure);
    this.waiting = undefined;
    this.onEnd();
  }
}
