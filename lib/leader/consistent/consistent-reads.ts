import type { HADatabase } from '../../write/ha-database.js';
import type { Exchange } from '../exchange.js';
import { readBehind } from '../forward/leader-exception.js';
import { forwardParameter, isForwarded } from '../leader-forwarding.js';
import type { Forwarded, LeaderForwarding } from '../leader-forwarding.js';
import { sequenceNames } from './cookie.js';
import type { SequenceNames } from './cookie.js';

/** Keeps what a client wrote and what it reads in order, for one database. */
export class ConsistentReads {
  readonly names: SequenceNames;

  constructor(
    connection: string,
    readonly database: HADatabase,
    private readonly forwarding: LeaderForwarding,
    /** Milliseconds that a read waits for this node. */
    private readonly timeout: number,
  ) {
    this.names = sequenceNames(connection);
  }

  /**
   * Sees to it that a read sees a sequence: here, or at the leader.
   *
   * @throws HALeaderException `HA_READ_BEHIND`, or what forwarding throws.
   */
  async reach(asked: number, exchange: Exchange, isForwardable = true): Promise<Forwarded> {
    const { leader } = this.forwarding;
    // What clients wrote through the leader, the leader has.
    if (this.received >= asked || (leader.isConfigured && leader.isLeader())) return 'serve';
    const behind = await this.waited(asked, exchange);
    if (behind === undefined) return 'serve';
    const mayForward = isForwardable && leader.isConfigured && !isForwarded(exchange);
    if (!mayForward || forwardParameter(exchange) === 'false') throw readBehind(asked, behind);
    return this.forwarding.read(exchange);
  }

  /**
   * What an answer tells the client to bring back.
   *
   * @param own How far the request's own writes got, where that is known.
   * @param isWrite It may have written where nobody noticed: then it is in what this node has.
   * @param asked What the client brought.
   */
  sequenceToTell(own: number | undefined, isWrite: boolean, asked: number | undefined): number | undefined {
    const { received } = this;
    const reached = own ?? (isWrite ? Math.max(received, Number(this.database.position().published)) : 0);
    if (reached === 0) return undefined;
    // It must not forget what it wrote before; but what nobody wrote is not handed on.
    return Math.max(reached, this.seen(asked));
  }

  /** What the client brought, as far as it is here. */
  seen(asked: number | undefined): number {
    return asked !== undefined && asked <= this.received ? asked : 0;
  }

  private get received(): number {
    return Number(this.database.position().received);
  }

  /** Waits; answers why this node does not get there, or nothing where it did, or where it has all that the stream holds. */
  private async waited(asked: number, { response }: Exchange): Promise<unknown> {
    const { database, timeout } = this;
    const gone = new AbortController();
    const short = new AbortController();
    const stop = (): void => gone.abort();
    response.once('close', stop);
    const end = this.endInFront(asked).then((last) => {
      if (last !== undefined) short.abort();
      return last;
    });
    try {
      await database.waitFor(BigInt(asked), { timeout, signal: AbortSignal.any([gone.signal, short.signal]) });
      return undefined;
    } catch (error) {
      const last = short.signal.aborted ? await end : undefined;
      if (last === undefined || gone.signal.aborted) return error;
      return await database.waitFor(BigInt(last), { timeout, signal: gone.signal }).catch((late: unknown) => late);
    } finally {
      response.off('close', stop);
    }
  }

  /**
   * The last sequence of this database in the stream, where that lies in front of a sequence: nobody has written that. It is
   * invented, or of a stream that was made anew since, or another node has moved past messages of other databases.
   */
  private async endInFront(asked: number): Promise<number | undefined> {
    const { messages, answered } = await this.database.lag({ timeout: this.timeout });
    const last = this.received + messages;
    return answered && asked > last ? last : undefined;
  }
}
