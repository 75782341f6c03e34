import { Inject, Injectable } from '@nestjs/common';
import type { CanActivate, ExecutionContext, Type } from '@nestjs/common';
import { DEFAULT_CONNECTION, partToken } from '../common/tokens.js';
import { refusal, rpcException, wsException } from './call-errors.js';
import { exchangeOf } from './exchange.js';
import type { LeaderForwarding } from './leader-forwarding.js';
import { never, withRetryAfter } from './outside-nest.js';
import { isWriteCall, isWriteRequest } from './write-methods.js';

/**
 * Has writes served by the leader. Over HTTP (Express and Fastify) the leader passes; a follower sends the request to it, with
 * its body as it flows in, and answers what it answers. Put it behind guards that authenticate: the leader asks them again.
 *
 * Which requests write: all but GET, HEAD and OPTIONS, or what `@WriteMethods()` and `@ReadOnly()` say. With `?forward=false`
 * the answer is 307 with the leader's URL. Messages of microservices and web sockets, and GraphQL mutations, cannot be
 * forwarded: they fail with an exception that carries the leader's target.
 *
 * @example \@UseGuards(AuthGuard, LeaderGuard)
 */
@Injectable()
export class LeaderGuard implements CanActivate {
  private static readonly named = new Map<string, Type<LeaderGuard>>();

  constructor(@Inject(partToken('forwarding')) private readonly forwarding: LeaderForwarding) {}

  /**
   * The guard of another database than the default one.
   *
   * @param connection Its name. @example \@UseGuards(LeaderGuard.for('orders'))
   */
  static for(connection: string): Type<LeaderGuard> {
    if (connection === DEFAULT_CONNECTION) return LeaderGuard;
    const known = LeaderGuard.named.get(connection);
    if (known !== undefined) return known;
    @Injectable()
    class NamedLeaderGuard extends LeaderGuard {
      constructor(@Inject(partToken('forwarding', connection)) forwarding: LeaderForwarding) {
        super(forwarding);
      }
    }
    LeaderGuard.named.set(connection, NamedLeaderGuard);
    return NamedLeaderGuard;
  }

  /** @throws HALeaderException where the leader cannot be reached, or does not answer. */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { leader } = this.forwarding;
    if (!leader.isConfigured) return true;
    if (context.getType() === 'http') return this.request(context);
    if (!isWriteCall(context) || leader.isLeader()) return true;
    switch (context.getType<string>()) {
      case 'rpc':
        throw await rpcException(leader, context.getArgByIndex(1));
      case 'ws':
        throw await wsException(leader);
      case 'graphql':
        return this.operation(context);
      default:
        throw refusal(this.forwarding.leader);
    }
  }

  private async request(context: ExecutionContext): Promise<boolean> {
    const exchange = exchangeOf(context);
    if (!isWriteRequest(context, exchange.request.method)) return true;
    const outcome = await withRetryAfter(exchange, () => this.forwarding.write(exchange));
    return outcome === 'serve' ? true : never();
  }

  /** Resolvers answer from the arguments root, args, context and info. */
  private operation(context: ExecutionContext): boolean {
    const info = context.getArgByIndex<{ operation?: { operation?: string } } | undefined>(3);
    if (info?.operation?.operation === 'mutation') throw refusal(this.forwarding.leader);
    return true;
  }
}
