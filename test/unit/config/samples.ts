import type { OptionName } from '../../../lib/config/resolved.js';

/** A value of an option other than its default: as text, optionally as object value, what it resolves to, what it needs. */
export interface Sample {
  text: string;
  object?: unknown;
  resolved: unknown;
  with?: Readonly<Record<string, string>>;
  /** Another valid value, where neither the default nor any text is one. */
  other?: string;
}

const same = (text: string): Sample => ({ text, resolved: text });
const yes: Sample = { text: 'T', object: true, resolved: true };
const number = (value: number): Sample => ({ text: String(value), object: value, resolved: value });

export const SAMPLES: Record<OptionName, Sample> = {
  asyncPublisher: yes,
  asyncPublisherOutboxDir: { ...same('/var/outbox dir'), with: { asyncPublisher: 'true' } },
  autoStart: { text: '0', object: false, resolved: false },
  bootstrap: same('never'),
  clusterSize: number(3),
  concurrency: same('serializable'),
  deliverPolicy: {
    text: 'by_start_sequence=18446744073709551615',
    resolved: { kind: 'startSequence', sequence: 18446744073709551615n },
  },
  allowCrossDatabase: yes,
  disableDBSnapshotter: yes,
  disableDDLSync: yes,
  disablePublisher: yes,
  disableSubscriber: yes,
  generatedIds: { ...same('overwrite'), other: 'ordered' },
  consistentReadTimeout: { text: '700ms', object: 700, resolved: 700 },
  forwardTimeout: { text: '9s', object: 9_000, resolved: 9_000 },
  grpcHost: same('10.0.0.1'),
  grpcInsecure: yes,
  grpcPort: { ...number(5001), other: '1' },
  grpcTimeout: { text: '250ms', object: 250, resolved: 250 },
  grpcTlsCa: { ...same('/tls/g-ca.pem'), with: { grpcTlsCert: '/c', grpcTlsKey: '/k' } },
  grpcTlsCert: { ...same('/tls/g-c.pem'), with: { grpcTlsKey: '/k' } },
  grpcTlsKey: { ...same('/tls/g-k.pem'), with: { grpcTlsCert: '/c' } },
  grpcToken: same('s3cret &=+%#?'),
  leaderProvider: {
    text: 'dynamic:http://localhost:8080',
    resolved: { kind: 'dynamic', targets: ['http://localhost:8080'] },
    other: 'static:h',
  },
  name: same('node-1.example.com'),
  natsConfigFile: same('/etc/nats.conf'),
  natsHost: same('0.0.0.0'),
  natsMaxPayload: { text: '8MB', object: 8_388_608, resolved: 8_388_608, other: '1MB' },
  natsName: same('nats1'),
  natsPass: { ...same('p@ss'), with: { natsUser: 'u' } },
  natsPort: number(0),
  natsServer: same('/opt/nats-server'),
  natsStoreDir: same('/var/nats'),
  natsSyncInterval: { text: '0', object: 0, resolved: 0 },
  natsUser: { ...same('admin'), with: { natsPass: 'p' } },
  publisherTimeout: { text: '1m30s', object: 90_000, resolved: 90_000 },
  queryRouter: { text: '^shard_\\d+$', resolved: /^shard_\d+$/ },
  replicas: number(3),
  replicationCreds: same('/run/secrets/n.creds'),
  replicationID: same('orders.db'),
  replicationStream: same('my-stream_1'),
  replicationTlsCa: same('/tls/ca.pem'),
  replicationTlsCert: { ...same('/tls/c.pem'), with: { replicationTlsKey: '/k' } },
  replicationTlsKey: { ...same('/tls/k.pem'), with: { replicationTlsCert: '/c' } },
  replicationToken: same('token'),
  replicationURL: {
    text: 'nats://u:p@n1:4222, tls://n2,n3:4333',
    resolved: ['nats://u:p@n1:4222', 'tls://n2', 'n3:4333'],
  },
  rowIdentify: same('full'),
  snapshotInterval: { text: '1h', object: '1h', resolved: 3_600_000 },
  streamMaxAge: { text: '24h', object: 86_400_000, resolved: 86_400_000, other: '1h' },
  streamMaxBytes: { text: '10GB', object: 10 * 1024 ** 3, resolved: 10 * 1024 ** 3, other: '1GB' },
  transactionTimeout: { text: '2s', object: 2_000, resolved: 2_000 },
};
