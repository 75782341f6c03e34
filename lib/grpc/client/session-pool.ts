import { Metadata, loadPackageDefinition } from '@grpc/grpc-js';
import type { Client, ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import { sleep } from '../../common/timing.js';
import { QueryType } from '../codec/messages.js';
import { PACKAGE, SERVICE, clientDefinition } from '../proto.js';
import { closedClient, statusError, timedOut, unavailable } from './remote-errors.js';
import { RemoteSession } from './remote-session.js';
import type { QueryStream } from './remote-session.js';
import type { Target } from './target.js';

/** Sessions that are open at the same time; further calls wait for one. */
const MOST_SESSIONS = 64;
const PING = { type: QueryType.PING, sql: '', params: [], replicationId: '' };
const RETRY_MS = 50;

/** When a server that is silent is asked whether it is there, and how long it may take to answer, ms. */
export interface Keepalive {
  readonly time: number;
  readonly timeout: number;
}

type Method = (...args: unknown[]) => unknown;

/** The sessions of a client with one server. The channel underneath connects again by itself; sessions are made anew. */
export class SessionPool {
  private readonly client: Client & Record<string, Method>;
  private readonly metadata = new Metadata();
  private readonly idle: RemoteSession[] = [];
  private readonly open = new Set<RemoteSession>();
  private readonly connecting = new Set<RemoteSession>();
  private readonly waiting: (() => void)[] = [];
  private leased = 0;
  private closed = false;

  constructor(
    private readonly target: Target,
    token: string | undefined,
    keepalive: Keepalive,
    /** Says with every call that this node forwards to its leader. */
    isForwarding = false,
  ) {
    const loaded = loadPackageDefinition(clientDefinition()) as unknown as Record<string, Record<string, never>>;
    const [first = '', second = ''] = PACKAGE.split('.');
    const Service = loaded[first]?.[second]?.[SERVICE] as unknown as new (...args: unknown[]) => Client;
    this.client = new Service(target.address, target.credentials, {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      // A connection that has gone silent is replaced, and only by its own client: others may have other limits.
      'grpc.keepalive_time_ms': keepalive.time,
      'grpc.keepalive_timeout_ms': keepalive.timeout,
      'grpc.use_local_subchannel_pool': 1,
    }) as SessionPool['client'];
    if (token !== undefined) this.metadata.set('authorization', token);
    this.metadata.set('ha-version', '1');
    if (isForwarding) this.metadata.set('ha-forwarded', '1');
  }

  get address(): string {
    return this.target.address;
  }

  /** A session that nobody else uses, and that answers; give it back with {@link release}. */
  async lease(timeoutMs: number): Promise<RemoteSession> {
    const deadline = performance.now() + timeoutMs;
    await this.place(timeoutMs);
    try {
      return this.takeIdle() ?? (await this.connect(deadline, timeoutMs));
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  release(session: RemoteSession): void {
    if (session.isReusable && !this.closed) this.idle.push(session);
    else session.cancel();
    this.leave();
  }

  /** A call with one answer. */
  unary<T>(method: string, timeoutMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const deadline = new Date(Date.now() + timeoutMs);
      this.method(method)({}, this.metadata, { deadline }, (error: ServiceError | null, answer: T) =>
        error === null ? resolve(answer) : reject(statusError(error, this.address)),
      );
    });
  }

  /** A call that streams bytes. */
  async *bytes(method: string, replicationID: string): AsyncGenerator<Buffer> {
    const stream = this.method(method)({ replication_id: replicationID }, this.metadata) as ClientReadableStream<{
      data: Buffer;
    }>;
    try {
      for await (const { data } of stream as AsyncIterable<{ data: Buffer }>) yield data;
    } catch (error) {
      throw statusError(error as ServiceError, this.address);
    } finally {
      stream.cancel();
    }
  }

  close(): void {
    this.closed = true;
    for (const session of this.open) session.cancel();
    for (const wake of this.waiting.splice(0)) wake();
    this.client.close();
  }

  /** Takes no more calls; what is under way goes on to its end. */
  retire(): void {
    if (this.closed) return;
    this.closed = true;
    for (const session of this.connecting) session.cancel();
    for (const session of this.idle.splice(0)) session.cancel();
    for (const wake of this.waiting.splice(0)) wake();
    if (this.leased === 0) this.client.close();
  }

  private method(name: string): Method {
    if (this.closed) throw closedClient();
    return (...args) => this.client[name]?.(...args);
  }

  private async place(timeoutMs: number): Promise<void> {
    if (this.leased < MOST_SESSIONS) {
      this.leased++;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const wake = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(wake), 1);
        reject(timedOut(this.address, timeoutMs));
      }, timeoutMs);
      this.waiting.push(wake);
    });
  }

  /** Hands the place on to the next who waits. */
  private leave(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.leased--;
    else next();
    if (this.closed && this.leased === 0) this.client.close();
  }

  private takeIdle(): RemoteSession | undefined {
    for (let session = this.idle.pop(); session !== undefined; session = this.idle.pop()) {
      if (session.isReusable) return session;
    }
    return undefined;
  }

  /** Nothing is written to a session before it has answered once: what fails here was surely not done, and is tried again. */
  private async connect(deadline: number, timeoutMs: number): Promise<RemoteSession> {
    for (;;) {
      if (this.closed) throw closedClient();
      const left = deadline - performance.now();
      if (left <= 0) throw unavailable(this.address, `it did not answer within ${timeoutMs} ms`);
      const session = new RemoteSession(this.method('Query')(this.metadata) as QueryStream, this.address);
      this.open.add(session);
      this.connecting.add(session);
      session.onEnd = () => this.open.delete(session);
      try {
        await session.ask(PING, left);
        return session;
      } catch (error) {
        session.cancel();
        if (this.closed) throw closedClient();
        const { retryable } = error as { retryable?: boolean };
        if (retryable !== true || deadline - performance.now() < RETRY_MS) throw error;
        await sleep(RETRY_MS);
      } finally {
        this.connecting.delete(session);
      }
    }
  }
}
