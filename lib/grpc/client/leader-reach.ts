import type { RemoteWriter } from '../../write/write-router.js';
import { LeaderCall } from './leader-client.js';
import type { ForwardingPorts } from './leader-client.js';
import { SessionPool } from './session-pool.js';
import { parseTarget } from './target.js';
import type { ClientTls } from './target.js';

export interface LeaderReachSettings {
  readonly token: string | undefined;
  /** With certificates, or without TLS at all. */
  readonly tls: ClientTls | undefined;
  /** Milliseconds. */
  readonly timeout: number;
}

/** A silent line to the leader is found out in this time, ms, and as long again. */
const KEEPALIVE_MS = 5_000;

/** Connections to the leader: to one node at a time. */
export class LeaderReach {
  private current: { readonly address: string; readonly pool: SessionPool } | undefined;

  constructor(
    private readonly settings: LeaderReachSettings,
    private readonly ports: ForwardingPorts,
  ) {}

  /** One write at a leader. @param deadline Time of `performance.now()`. */
  call(address: string, deadline: number): RemoteWriter {
    return new LeaderCall(this.poolOf(address), this.ports, deadline, this.settings.timeout);
  }

  /** Another node leads, or none: what has not been sent yet goes elsewhere; what is under way may end. */
  leave(address: string | undefined): void {
    if (this.current === undefined || this.current.address === address) return;
    this.current.pool.retire();
    this.current = undefined;
  }

  close(): void {
    this.current?.pool.close();
    this.current = undefined;
  }

  private poolOf(address: string): SessionPool {
    this.leave(address);
    const { token, tls, timeout } = this.settings;
    const keepalive = { time: KEEPALIVE_MS, timeout: Math.max(KEEPALIVE_MS, timeout) };
    this.current ??= { address, pool: new SessionPool(parseTarget(address, tls), token, keepalive, true) };
    return this.current.pool;
  }
}
