import type { ConsumerMessages, JsMsg } from 'nats';
import { HAError } from '../../common/ha-error.js';
import { sleep } from '../../common/timing.js';
import { ObjectDigest } from '../object-digest.js';
import { ObjectGone } from '../object-store.js';
import type { ObjectInfo } from '../object-store.js';
import type { ObjectClient } from './object-store.js';

/** Pieces asked for ahead of their use. */
const AHEAD = 16;
/** A consumer that gives nothing for so long is given up for a new one, ms. */
const SILENT_MS = 3_000;
/** How long nothing may come before reading fails, ms. */
const PATIENCE_MS = 30_000;
const PAUSE_MS = 250;

/**
 * Reads the pieces of an object in order. It goes on by itself behind disconnects and restarts of the server, from the
 * piece where it stopped.
 */
export class ObjectReader {
  private last = 0;
  private count = 0;
  private heard = performance.now();

  constructor(
    private readonly info: ObjectInfo,
    private readonly stream: string,
    private readonly subject: string,
    private readonly ask: <T>(request: (client: ObjectClient) => Promise<T>) => Promise<T>,
  ) {}

  async *read(): AsyncGenerator<Buffer> {
    const digest = new ObjectDigest();
    while (this.count < this.info.chunks) {
      const messages = await this.subscribe();
      if (messages === undefined) continue;
      for await (const message of this.until(messages)) {
        if (message.seq <= this.last) continue;
        this.last = message.seq;
        this.count++;
        const piece = Buffer.from(message.data);
        digest.add(piece);
        yield piece;
        this.heard = performance.now();
        if (this.count === this.info.chunks) break;
      }
    }
    digest.verify(this.info);
  }

  /** A consumer for what is left; undefined where the server did not answer, and may be asked again. */
  private async subscribe(): Promise<ConsumerMessages | undefined> {
    const { stream, subject, info } = this;
    try {
      const left = await this.ask(async ({ jsm }) => {
        const { state } = await jsm.streams.info(stream, { subjects_filter: subject });
        return state.subjects?.[subject] ?? 0;
      });
      if (left < info.chunks) throw new ObjectGone(`'${info.name}' was replaced while it was read`);
      return await this.ask(async ({ js }) => {
        const consumer = await js.consumers.get(stream, { filterSubjects: subject, opt_start_seq: this.last + 1 });
        return consumer.consume({ max_messages: AHEAD, expires: 5_000, idle_heartbeat: 1_000 });
      });
    } catch (error) {
      const isAway = error instanceof HAError && error.retryable;
      if (!isAway || performance.now() - this.heard > PATIENCE_MS) throw error;
      await sleep(PAUSE_MS);
      return undefined;
    }
  }

  /** Its messages, until it falls silent. */
  private async *until(messages: ConsumerMessages): AsyncGenerator<JsMsg> {
    let arrived = performance.now();
    const watch = setInterval(() => {
      if (performance.now() - arrived > SILENT_MS) messages.stop();
    }, SILENT_MS / 4);
    try {
      for await (const message of messages) {
        yield message;
        // While the receiver writes to its disk the server is not silent.
        arrived = performance.now();
      }
    } finally {
      clearInterval(watch);
      messages.stop();
    }
    if (performance.now() - this.heard > PATIENCE_MS) {
      throw new HAError(
        'HA_STREAM_CONNECT',
        `The object '${this.info.name}' stopped coming after ${this.count} of ${this.info.chunks} pieces. It can be read again.`,
        { retryable: true },
      );
    }
  }
}
