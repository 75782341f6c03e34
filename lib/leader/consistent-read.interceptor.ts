import { Inject, Injectable } from '@nestjs/common';
import type { CallHandler, ExecutionContext, NestInterceptor, Type } from '@nestjs/common';
import { NEVER } from 'rxjs';
import type { Observable } from 'rxjs';
import { inSession } from '../write/session-context.js';
import { DEFAULT_CONNECTION, partToken } from '../common/tokens.js';
import { askedSequence, cookieText } from './consistent/cookie.js';
import { onHead } from './consistent/on-head.js';
import type { AddedFields } from './consistent/on-head.js';
import type { ConsistentReads } from './consistent/consistent-reads.js';
import { exchangeOf } from './exchange.js';
import { withRetryAfter } from './outside-nest.js';
import { isWriteRequest } from './write-methods.js';

const NO_FIELDS: AddedFields = new Map();
/** Nest's own mark of `@Sse()`: it begins to answer while interceptors still wait, so there is nothing left to forward. */
const SSE = '__sse__';
const FIRST_FAILURE = 400;

/**
 * Has clients read what they wrote, on any node. An answer to a request that wrote carries how far the stream was then: cookie
 * `_txseq`, and header `X-HA-TxSeq`. A read that brings either back waits until this node has applied that; where it takes too
 * long (option `consistentReadTimeout`), or replication has stopped here, the leader answers it. With `?forward=false`, and
 * without a leader, the answer then is 504.
 *
 * Over HTTP, with Express and Fastify; other calls pass.
 *
 * @example \@UseInterceptors(ConsistentReadInterceptor)
 */
@Injectable()
export class ConsistentReadInterceptor implements NestInterceptor {
  private static readonly named = new Map<string, Type<ConsistentReadInterceptor>>();

  constructor(@Inject(partToken('consistentReads')) private readonly reads: ConsistentReads) {}

  /**
   * The interceptor of another database than the default one. Its cookie is `_txseq_<connection>`.
   *
   * @param connection Its name. @example \@UseInterceptors(ConsistentReadInterceptor.for('orders'))
   */
  static for(connection: string): Type<ConsistentReadInterceptor> {
    if (connection === DEFAULT_CONNECTION) return ConsistentReadInterceptor;
    const known = ConsistentReadInterceptor.named.get(connection);
    if (known !== undefined) return known;
    @Injectable()
    class NamedConsistentReadInterceptor extends ConsistentReadInterceptor {
      constructor(@Inject(partToken('consistentReads', connection)) reads: ConsistentReads) {
        super(reads);
      }
    }
    ConsistentReadInterceptor.named.set(connection, NamedConsistentReadInterceptor);
    return NamedConsistentReadInterceptor;
  }

  /** @throws HALeaderException where this node is behind, and the read cannot be forwarded. */
  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    if (context.getType() !== 'http') return next.handle();
    const { reads } = this;
    const exchange = exchangeOf(context);
    const asked = askedSequence(exchange, reads.names);
    const isWrite = isWriteRequest(context, exchange.request.method);
    if (!isWrite && asked !== undefined) {
      const isForwardable = !Reflect.hasMetadata(SSE, context.getHandler());
      const outcome = await withRetryAfter(exchange, () => reads.reach(asked, exchange, isForwardable));
      if (outcome === 'answered') return NEVER;
    }
    return inSession((session) => {
      // Reads with `consistency: 'session'` see what the client wrote too.
      session.see(reads.database, reads.seen(asked));
      onHead(exchange.response, (status) => {
        const mayHaveWritten = isWrite && status < FIRST_FAILURE;
        return this.fields(reads.sequenceToTell(session.written(reads.database), mayHaveWritten, asked));
      });
      return next.handle();
    });
  }

  private fields(sequence: number | undefined): AddedFields {
    if (sequence === undefined) return NO_FIELDS;
    const { cookie, header } = this.reads.names;
    return new Map([
      ['Set-Cookie', cookieText(cookie, sequence)],
      [header, String(sequence)],
    ]);
  }
}
