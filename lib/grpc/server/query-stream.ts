import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { status } from '@grpc/grpc-js';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { within } from '../../common/timing.js';
import type { ReceivedRequest } from '../proto.js';
import type { QuerySession } from './query-session.js';

export type QueryCall = ServerDuplexStream<ReceivedRequest, Buffer>;

/** A caller that takes nothing for so long, ms, is given up: an open result holds back checkpoints. */
const STALLED_MS = 60_000;

/** Streams that are open, so that a server that ends can tell their callers. */
export class OpenStreams {
  private readonly calls = new Map<QueryCall, Served>();
  /** Why no more requests are taken. */
  private ending: string | undefined;

  get size(): number {
    return this.calls.size;
  }

  /** Serves a session until its stream ends, in whatever way. Never fails. */
  async serve(call: QueryCall, session: QuerySession): Promise<void> {
    // One that was broken off before tells nobody any more, and its requests are still in its buffer.
    if (call.cancelled) return session.close();
    if (this.ending !== undefined) {
      refuse(call, status.UNAVAILABLE, this.ending);
      return session.close();
    }
    const state: Served = {};
    this.calls.set(call, state);
    const ended = new AbortController();
    const gone = once(call, 'cancelled', { signal: ended.signal }).then(
      () => {
        ended.abort();
        call.destroy();
      },
      () => undefined,
    );
    try {
      state.served = this.pump(call, session, ended.signal);
      await Promise.race([state.served, gone]);
      if (!call.cancelled && this.calls.has(call)) call.end();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!call.cancelled && this.calls.has(call)) refuse(call, status.INTERNAL, reason);
    } finally {
      ended.abort();
      this.calls.delete(call);
      await session.close();
    }
  }

  /**
   * Ends all streams with UNAVAILABLE: their callers go elsewhere, or come again. Requests that are worked on get their
   * answer first, those behind them are not begun.
   *
   * @param patience Milliseconds that answers may take.
   */
  async endAll(reason: string, patience: number): Promise<void> {
    this.ending = reason;
    const answers: Promise<unknown>[] = [];
    for (const [call, { isAnswering, served }] of this.calls) {
      if (isAnswering !== true) this.end(call, reason);
      else answers.push(Promise.resolve(served).catch(() => undefined));
    }
    await within(patience, Promise.all(answers));
    for (const call of this.calls.keys()) this.end(call, reason);
  }

  private end(call: QueryCall, reason: string): void {
    if (this.calls.delete(call)) refuse(call, status.UNAVAILABLE, reason);
  }

  /** Answers requests one after another, until the caller sends no more. */
  private async pump(call: QueryCall, session: QuerySession, ended: AbortSignal): Promise<void> {
    const state = this.calls.get(call);
    if (state === undefined) return;
    const send = (answer: Buffer): Promise<void> | undefined => {
      ended.throwIfAborted();
      return call.write(answer) ? undefined : drained(call, ended);
    };
    const requests = new Requests(call);
    try {
      while (this.calls.has(call) && !ended.aborted && this.ending === undefined) {
        const received = requests.take() ?? (await requests.arrival());
        if (received === undefined || !this.calls.has(call) || ended.aborted) break;
        state.isAnswering = true;
        await session.answer(received, send);
        state.isAnswering = false;
      }
    } finally {
      requests.drop();
    }
    if (this.ending !== undefined) this.end(call, this.ending);
  }
}

/**
 * Requests of a stream as they come. Much faster than a loop over the stream (`for await`): nothing is created for a request,
 * and no end of it is looked for. What comes while another is answered is kept, and the stream takes no more then.
 */
class Requests {
  private readonly kept: ReceivedRequest[] = [];
  private wake: ((received: ReceivedRequest | undefined) => void) | undefined;
  private fail: (error: Error) => void = () => undefined;
  private over = false;
  private failure: Error | undefined;

  constructor(private readonly call: QueryCall) {
    call.on('data', this.receive);
    call.on('end', this.finish);
    call.on('close', this.finish);
    call.on('error', this.broke);
  }

  take(): ReceivedRequest | undefined {
    return this.kept.shift();
  }

  /** The next one; undefined behind the last. */
  arrival(): Promise<ReceivedRequest | undefined> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (this.over) return Promise.resolve(undefined);
    if (this.call.isPaused()) this.call.resume();
    return new Promise((resolve, reject) => {
      this.wake = resolve;
      this.fail = reject;
    });
  }

  drop(): void {
    this.call.off('data', this.receive);
    this.call.off('end', this.finish);
    this.call.off('close', this.finish);
  }

  private readonly receive = (received: ReceivedRequest): void => {
    const { wake } = this;
    if (wake === undefined) {
      this.kept.push(received);
      this.call.pause();
      return;
    }
    this.wake = undefined;
    wake(received);
  };

  private readonly finish = (): void => {
    this.over = true;
    this.wake?.(undefined);
    this.wake = undefined;
  };

  private readonly broke = (error: Error): void => {
    this.failure = error;
    this.fail(error);
    this.wake = undefined;
  };
}

/** What a stream is doing. */
interface Served {
  isAnswering?: boolean;
  /** Settles when nothing is answered any more. */
  served?: Promise<void>;
}

/** Ends a call with a status. */
export function refuse(call: Pick<QueryCall, 'emit'>, code: number, details: string): void {
  call.emit('error', Object.assign(new Error(details), { code, details }));
}

/** Waits until the caller has taken what was written. */
export async function drained(call: Writable, ended: AbortSignal): Promise<void> {
  const stalled = AbortSignal.timeout(STALLED_MS);
  try {
    await once(call, 'drain', { signal: AbortSignal.any([ended, stalled]) });
  } catch (error) {
    if (!stalled.aborted) throw error;
    throw new Error(`The answer was not read for ${STALLED_MS / 1_000} s, and the call is given up.`, { cause: error });
  }
}
