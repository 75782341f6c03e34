import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Node } from './node.js';

/** What became of the requests of all clients. */
export interface Tally {
  /** Orders that were answered with success, by id. */
  readonly placed: Map<string, number>;
  /** Answers that asked to come again, by status or error. */
  readonly again: Map<string, number>;
  /** Answers that must not be: an order refused for good, or not seen by the client that had placed it. */
  readonly wrong: string[];
  /** Where the stream stood at the last answer. */
  sequence: bigint;
  /** Longest time that one order took, ms. */
  longest: number;
}

export function emptyTally(): Tally {
  return { placed: new Map(), again: new Map(), wrong: [], sequence: 0n, longest: 0 };
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly sequence: string | null;
}

const ITEMS = ['apple', 'bread', 'cheese'];
/** The answers of a cluster that is changing its leader. */
const COME_AGAIN: ReadonlySet<number> = new Set([502, 503, 504, 508]);
const PAUSE_MS = 200;
/** Between two orders of a client. */
const THINK_MS = 20;
const GIVE_UP_MS = 60_000;

/** Sends orders to any node, the next one where one does not answer, and looks each up at any node. */
export class Client {
  constructor(
    private readonly nodes: readonly Node[],
    private readonly tally: Tally,
  ) {}

  async order(): Promise<void> {
    const id = randomUUID();
    const quantity = randomInt(1, 10);
    const body = JSON.stringify({ item: ITEMS[randomInt(ITEMS.length)], quantity });
    const begun = performance.now();
    const placed = await this.untilAnswered('PUT', `/orders/${id}`, { 'content-type': 'application/json' }, body);
    if (placed === undefined) return;
    this.tally.longest = Math.max(this.tally.longest, performance.now() - begun);
    this.tally.placed.set(id, quantity);
    const sequence = placed.sequence ?? '0';
    if (BigInt(sequence) > this.tally.sequence) this.tally.sequence = BigInt(sequence);
    await this.untilAnswered('GET', `/orders/${id}`, { 'x-ha-txseq': sequence });
    await sleep(THINK_MS);
  }

  /** Answers nothing where the cluster refused for good, or did not come back: that is noted as wrong. */
  private async untilAnswered(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<Answer | undefined> {
    const { again, wrong } = this.tally;
    const end = performance.now() + GIVE_UP_MS;
    for (;;) {
      const answer = await this.ask(method, path, headers, body);
      if (typeof answer === 'object' && answer.status < 300) return answer;
      const what = typeof answer === 'object' ? String(answer.status) : answer;
      if ((typeof answer === 'object' && !COME_AGAIN.has(answer.status)) || performance.now() > end) {
        wrong.push(`${method} ${path}: ${what} ${typeof answer === 'object' ? answer.text : ''}`);
        return undefined;
      }
      again.set(what, (again.get(what) ?? 0) + 1);
      await sleep(PAUSE_MS);
    }
  }

  /** The answer of any node; a word where it gave none. */
  private async ask(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: string | undefined,
  ): Promise<Answer | string> {
    const node = this.nodes[randomInt(this.nodes.length)] as Node;
    try {
      const response = await fetch(node.url + path, { method, headers, ...(body === undefined ? {} : { body }) });
      return { status: response.status, text: await response.text(), sequence: response.headers.get('x-ha-txseq') };
    } catch {
      return 'no answer';
    }
  }
}
