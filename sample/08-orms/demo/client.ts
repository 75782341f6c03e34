import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 50;
const MOST_ATTEMPTS = 100;

/** What became of the requests to one resource. */
export interface Tally {
  requests: number;
  /** How often a node asked to come again. */
  again: number;
  /** Transfers that were refused, for there were too few copies. */
  refused: number;
  /** Time of each request that was answered, ms. */
  readonly times: number[];
}

export function emptyTally(): Tally {
  return { requests: 0, again: 0, refused: 0, times: [] };
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** Sends a request, and again as long as the answer is 503: nothing was written then. */
export async function send(url: string, body: unknown, tally: Tally): Promise<Answer> {
  const begun = performance.now();
  tally.requests++;
  for (let attempt = 1; ; attempt++) {
    const answer = await post(url, body);
    if (answer.status !== 503 || attempt === MOST_ATTEMPTS) {
      tally.times.push(performance.now() - begun);
      return answer;
    }
    tally.again++;
    await sleep(PAUSE_MS);
  }
}

async function post(url: string, body: unknown): Promise<Answer> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

/** @throws Error where the answer is not a success. */
export async function get<T>(url: string): Promise<T> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`GET ${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}
