import { connect } from 'nats';
import type { JetStreamClient, NatsConnection } from 'nats';

/** Publishes with the client of the package `nats`, on a stream of its own on the same server. */
export class PublishBaseline {
  private id = 0;

  private constructor(
    private readonly nc: NatsConnection,
    private readonly js: JetStreamClient,
    private readonly payload: Buffer,
  ) {}

  static async open(url: string, bytes: number): Promise<PublishBaseline> {
    const nc = await connect({ servers: url });
    const manager = await nc.jetstreamManager();
    await manager.streams.add({ name: 'bench_baseline', subjects: ['bench_baseline'] });
    return new PublishBaseline(nc, nc.jetstream(), Buffer.alloc(bytes, 97));
  }

  /** Messages a second with so many in flight. */
  async run(messages: number, inFlight: number): Promise<number> {
    let left = messages;
    const started = performance.now();
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        while (left-- > 0) await this.js.publish('bench_baseline', this.payload, { msgID: `p${++this.id}` });
      }),
    );
    return messages / ((performance.now() - started) / 1_000);
  }

  /** Messages a second in ordered groups: the first expects the subject's sequence, each other the id before it. */
  async runOrdered(messages: number, groupSize: number): Promise<number> {
    const started = performance.now();
    let last = 0;
    const manager = await this.nc.jetstreamManager();
    last = (await manager.streams.info('bench_baseline')).state.last_seq;
    for (let sent = 0; sent < messages; sent += groupSize) {
      const acks = Array.from({ length: groupSize }, (_, index) => {
        const before = `p${this.id}`;
        const expect = index === 0 ? { lastSubjectSequence: last } : { lastMsgID: before };
        return this.js.publish('bench_baseline', this.payload, { msgID: `p${++this.id}`, expect });
      });
      last = (await Promise.all(acks)).at(-1)?.seq ?? last;
    }
    return messages / ((performance.now() - started) / 1_000);
  }

  async close(): Promise<void> {
    await this.nc.close();
  }
}
