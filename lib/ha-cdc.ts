// The entry point `nestjs-ha/cdc`.

export { cdcKeyJson, cdcValueJson } from './cdc/connect-json.js';
export type { CdcJsonOptions } from './cdc/connect-json.js';
export { FileCDCTarget } from './cdc/targets/file-target.js';
export { HttpCDCTarget } from './cdc/targets/http-target.js';
export type { HttpCDCOptions } from './cdc/targets/http-target.js';
export { KafkaCDCTarget, kafkaBatch } from './cdc/targets/kafka-target.js';
export type { KafkaBatch, KafkaCDCOptions, KafkaMessage, KafkaProducer } from './cdc/targets/kafka-target.js';
export type {
  DebeziumEnvelope,
  DebeziumOperation,
  DebeziumSchemaChange,
  DebeziumSource,
  DebeziumTransaction,
  HACDCChangeEvent,
  HACDCContext,
  HACDCEvent,
  HACDCRegistration,
  HACDCSchemaEvent,
  HACDCSettings,
  HACDCTarget,
} from './cdc/target.js';
