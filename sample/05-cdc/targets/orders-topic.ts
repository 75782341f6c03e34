import { Injectable, Logger } from '@nestjs/common';
import { kafkaBatch } from 'nestjs-ha/cdc';
import type { HACDCEvent, HACDCTarget } from 'nestjs-ha/cdc';

/**
 * Makes Kafka records of events, and shows them. With kafkajs it is `new KafkaCDCTarget(producer)`, or here
 * `await producer.sendBatch(kafkaBatch(events))`.
 */
@Injectable()
export class OrdersTopic implements HACDCTarget {
  private readonly logger = new Logger('Kafka');

  deliver(events: readonly HACDCEvent[]): void {
    for (const { topic, messages } of kafkaBatch(events).topicMessages) {
      for (const { key, value } of messages)
        this.logger.log(`${topic} ${key} ${value === null ? 'tombstone' : summary(value)}`);
    }
  }
}

function summary(value: string): string {
  const { op, before, after, ddl } = JSON.parse(value) as Record<string, unknown>;
  return ddl === undefined ? JSON.stringify({ op, before, after }) : 'schema';
}
