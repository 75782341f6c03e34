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

  private async pump(call: QueryCall, session: QuerySession, ended: AbortSignal): Promise<void> {
    // A plain loop destroys the stream behind the last request, and its status would never be sent.
    const requests = call.iterator({ destroyOnReturn: false }) as AsyncIterable<ReceivedRequest>;
    for await (const received of requests) {
      const state = this.calls.get(call);
      if (state === undefined || ended.aborted) return;
      state.isAnswering = true;
      await session.answer(received, (answer) => {
        ended.throwIfAborted();
        return call.write(answer) ? undefined : drained(call, ended);
      });
      state.isAnswering = false;
      if (this.ending !== undefined) break;
    }
    // Not inside of the loop: that would destroy the stream with an answer in it that is not sent yet.
    if (this.ending !== undefined) this.end(call, this.ending);
  }
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
