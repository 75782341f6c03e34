import { cdcKeyJson, cdcValueJson } from '../connect-json.js';
import type { CdcJsonOptions } from '../connect-json.js';
import type { HACDCEvent, HACDCTarget } from '../target.js';

/** A message as kafkajs takes it. Kafka chooses the partition by the key, so one row stays in one partition. */
export interface KafkaMessage {
  readonly key: string | null;
  /** Null for a tombstone. */
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly timestamp: string;
}

/** What `producer.sendBatch` of kafkajs takes. */
export interface KafkaBatch {
  readonly acks: -1;
  readonly topicMessages: readonly { readonly topic: string; readonly messages: readonly KafkaMessage[] }[];
}

/** The part of a kafkajs producer that is used here. */
export interface KafkaProducer {
  sendBatch(batch: KafkaBatch): Promise<unknown>;
}

/** How to make records of events. */
export interface KafkaCDCOptions extends CdcJsonOptions {
  /** Whether a delete is followed by a message without a value, for compacted topics, as in Debezium. Default true. */
  readonly tombstonesOnDelete?: boolean;
}

/** Events as Kafka records, in order, by topic: what Debezium's connectors would have written. */
export function kafkaBatch(events: readonly HACDCEvent[], options: KafkaCDCOptions = {}): KafkaBatch {
  const topics = new Map<string, KafkaMessage[]>();
  for (const event of events) {
    const messages = topics.get(event.topic) ?? [];
    topics.set(event.topic, messages);
    messages.push(...recordsOf(event, options));
  }
  return { acks: -1, topicMessages: [...topics].map(([topic, messages]) => ({ topic, messages })) };
}

/**
 * Sends events through a producer that the application has connected, such as kafkajs's with `idempotent: true`. Order holds
 * within a topic's partition, as ever in Kafka.
 */
export class KafkaCDCTarget implements HACDCTarget {
  constructor(
    private readonly producer: KafkaProducer,
    private readonly options: KafkaCDCOptions = {},
  ) {}

  async deliver(events: readonly HACDCEvent[]): Promise<void> {
    await this.producer.sendBatch(kafkaBatch(events, this.options));
  }
}

function recordsOf(event: HACDCEvent, options: KafkaCDCOptions): KafkaMessage[] {
  const { sequence, ts_ms, node } = event.value.source;
  const common = {
    key: cdcKeyJson(event, options),
    headers: { sequence, node },
    timestamp: String(ts_ms),
  };
  const record = { ...common, value: cdcValueJson(event, options) };
  const isDelete = event.type === 'change' && event.value.op === 'd';
  if (!isDelete || common.key === null || options.tombstonesOnDelete === false) return [record];
  return [record, { ...common, value: null }];
}
