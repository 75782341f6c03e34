import { cdcKeyJson, cdcValueJson } from '../connect-json.js';
import type { CdcJsonOptions } from '../connect-json.js';
import type { HACDCContext, HACDCEvent, HACDCTarget } from '../target.js';

/** How to post. */
export interface HttpCDCOptions extends CdcJsonOptions {
  /** Sent with every request: `{ authorization: 'Bearer …' }`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** How long a request may take, ms. Default 30000. */
  readonly timeout?: number;
}

/**
 * Posts each batch as a JSON array of `{"topic":…,"key":…,"value":…}`. Any 2xx answer means that it is safe; everything else,
 * and no answer, brings it again. The header `idempotency-key` names the first and last event,
 * `["42","1"]-["43","2"]`: a batch that is sent again at once has the same, behind a restart it may be cut in another way.
 */
export class HttpCDCTarget implements HACDCTarget {
  constructor(
    private readonly url: string,
    private readonly options: HttpCDCOptions = {},
  ) {}

  async deliver(events: readonly HACDCEvent[], { signal }: Pick<HACDCContext, 'signal'>): Promise<void> {
    const { headers = {}, timeout = 30_000 } = this.options;
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey(events), ...headers },
      body: `[${events.map((event) => this.item(event)).join(',')}]`,
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeout)]),
    });
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`${this.url} answered ${response.status} ${response.statusText}`);
  }

  private item(event: HACDCEvent): string {
    const key = cdcKeyJson(event, this.options) ?? 'null';
    return `{"topic":${JSON.stringify(event.topic)},"key":${key},"value":${cdcValueJson(event, this.options)}}`;
  }
}

function idempotencyKey(events: readonly HACDCEvent[]): string {
  const at = (event: HACDCEvent | undefined): string => event?.value.source.sequence ?? '';
  return `${at(events[0])}-${at(events.at(-1))}`;
}
