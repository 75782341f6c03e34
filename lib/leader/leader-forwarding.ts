import type { OnApplicationShutdown } from '@nestjs/common';
import { filter, firstValueFrom, timeout } from 'rxjs';
import type { Exchange } from './exchange.js';
import { Forwarder, locationOf } from './forward/forwarder.js';
import type { ForwarderSettings } from './forward/forwarder.js';
import { FORWARDED_BY } from './forward/headers.js';
import { HALeaderException, leaderLoop, leaderUnknown, leaderWithoutHttp } from './forward/leader-exception.js';
import { redirect } from './forward/relay.js';
import type { HALeader, LeaderState, LeaderTarget } from './leader.js';

/** A leader that stops hands over within this time; a client need not notice. Milliseconds. */
const HAND_OVER_MS = 1_000;

/** What `?forward=` may ask for instead of forwarding. 301 is what go-ha answers. */
const REDIRECTS: Readonly<Record<string, number>> = { false: 307, '307': 307, '308': 308, '301': 301 };

/** What becomes of a request: this node may serve it, or it was answered here already. */
export type Forwarded = 'serve' | 'answered';

/** Brings requests to the leader of one database. */
export class LeaderForwarding implements OnApplicationShutdown {
  private readonly forwarder: Forwarder;

  constructor(
    readonly leader: HALeader,
    settings: ForwarderSettings,
  ) {
    this.forwarder = new Forwarder(settings);
  }

  onApplicationShutdown(): void {
    this.forwarder.close();
  }

  /**
   * A request that writes: answers `serve` on the leader, and on a follower whose leader is reached over gRPC alone, for its
   * database writes there by itself. Else the leader's answer is on its way, or a redirect where `?forward=` asks for that.
   *
   * @throws HALeaderException where the request did not get to the leader, or no answer came back.
   */
  async write(exchange: Exchange): Promise<Forwarded> {
    return this.untilReached((target) => {
      const { grpc, http } = target;
      if (http === undefined && grpc !== undefined) return 'serve';
      const status = redirectStatus(exchange);
      if (status === undefined || isForwarded(exchange)) return this.send(exchange, target);
      redirect(exchange, status, locationOf(withHttp(target).http, exchange.path));
      return 'answered';
    });
  }

  /**
   * A read that this node cannot answer: answers `serve` where it has become the leader.
   *
   * @throws HALeaderException as {@link write}.
   */
  async read(exchange: Exchange): Promise<Forwarded> {
    return this.untilReached((target) => this.send(exchange, target));
  }

  private async send(exchange: Exchange, target: LeaderTarget): Promise<Forwarded> {
    if (isForwarded(exchange)) throw leaderLoop(target);
    await this.forwarder.forward(exchange, withHttp(target));
    return 'answered';
  }

  /** Where no leader is known, or the one that is known does not take connections, another may come in a moment. */
  private async untilReached(work: (target: LeaderTarget) => Forwarded | Promise<Forwarded>): Promise<Forwarded> {
    const { leader } = this;
    const end = performance.now() + HAND_OVER_MS;
    for (;;) {
      if (leader.isLeader()) return 'serve';
      const target = leader.target() ?? (await this.newTarget(undefined, end));
      if (leader.isLeader()) return 'serve';
      try {
        if (target === undefined) throw leaderUnknown();
        return await work(target);
      } catch (error) {
        const mayChange = error instanceof HALeaderException && CHANGES_WITH_LEADER.has(error.code);
        if (!mayChange || performance.now() >= end) throw error;
        await this.newTarget(target, end);
        // Nothing has changed: the end has come.
        if (!leader.isLeader() && leader.target()?.text === target?.text) throw error;
      }
    }
  }

  /** Waits until the leader is another, or this node, or the time is over. */
  private async newTarget(old: LeaderTarget | undefined, end: number): Promise<LeaderTarget | undefined> {
    const isNew = ({ isLeader, target }: LeaderState): boolean =>
      isLeader || (target !== undefined && target.text !== old?.text);
    const left = Math.max(1, end - performance.now());
    const state = firstValueFrom(this.leader.changes.pipe(filter(isNew), timeout({ first: left })));
    return state.then(
      ({ target }) => target,
      () => undefined,
    );
  }
}

/** Failures that another leader does not have. */
const CHANGES_WITH_LEADER: ReadonlySet<string> = new Set([
  'HA_LEADER_UNREACHABLE',
  'HA_LEADER_LOOP',
  'HA_LEADER_UNKNOWN',
]);

/** Whether another node has forwarded a request to this one. */
export function isForwarded({ request }: Exchange): boolean {
  return request.headers[FORWARDED_BY] !== undefined;
}

/** The value of `?forward=`. */
export function forwardParameter({ path }: Exchange): string | undefined {
  const at = path.indexOf('?');
  return at < 0 ? undefined : (new URLSearchParams(path.slice(at + 1)).get('forward') ?? undefined);
}

function redirectStatus(exchange: Exchange): number | undefined {
  return REDIRECTS[forwardParameter(exchange)?.toLowerCase() ?? ''];
}

function withHttp(target: LeaderTarget): LeaderTarget & { readonly http: string } {
  const { http } = target;
  if (http === undefined) throw leaderWithoutHttp(target);
  return { ...target, http };
}
