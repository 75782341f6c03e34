import { join } from 'node:path';
import { HAError } from '../../../lib/common/ha-error.js';
import { resolveOptions } from '../../../lib/config/resolve.js';
import { HARuntime } from '../../../lib/ha-runtime.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { StreamTimeout } from '../../../lib/stream/replication-stream.js';
import type { OutgoingMessage, PublishReceipt } from '../../../lib/stream/replication-stream.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { collect, failureOf, onCleanup, temporaryFolder, until } from '../../helper/cluster.js';

/** A stream that now and then gives no answer to a question. */
class SilentStream extends MemoryStream {
  /** Questions that get no answer: of the state, of the last sequence. */
  readonly silent = { state: 0, last: 0 };
  /** Called when the last sequence is asked for. */
  asked: () => void = () => undefined;

  override async state(): ReturnType<MemoryStream['state']> {
    if (this.silent.state-- > 0) throw noAnswer();
    return super.state();
  }

  override async lastSubjectSequence(): Promise<number> {
    this.asked();
    if (this.silent.last-- > 0) throw noAnswer();
    return super.lastSubjectSequence();
  }
}

function noAnswer(): HAError {
  return new HAError('HA_STREAM_CONNECT', 'TIMEOUT', { retryable: true });
}

function silent(): SilentStream {
  return new SilentStream({ broker: new MemoryBroker(), stream: 's', subject: 's.db' });
}

function node<S extends MemoryStream>(
  name: string,
  dir: string,
  stream: S,
): { db: HADatabase; stream: S; runtime: HARuntime } {
  const options = { name, replicationID: 'db', replicationStream: 's', publisherTimeout: 1_000 };
  const resolved = resolveOptions(`file:${join(dir, `${name}.db`)}`, options, {});
  const runtime = new HARuntime(resolved, { logger: collect([]), retryAttempts: 5, retryDelay: 10, stream });
  const db = new HADatabase(runtime);
  onCleanup(() => db.close());
  return { db, stream, runtime };
}

/** A stream that loses a message in two places: one of them hands it over later. */
class LateStream extends MemoryStream {
  readonly held: OutgoingMessage[] = [];
  private attempts = 0;
  hold = '';

  override publish(message: OutgoingMessage): Promise<PublishReceipt> {
    // Nothing of the first sending arrives; of the second, all but the message that is held.
    if (this.hold !== '' && (this.attempts++ < 2 || message.data.includes(this.hold))) {
      if (message.data.includes(this.hold)) this.held.push(message);
      return Promise.reject(new StreamTimeout('lost'));
    }
    return super.publish(message);
  }

  async handOver(): Promise<void> {
    this.hold = '';
    await super.publish(this.held[0] as OutgoingMessage);
  }
}

describe('A message that was sent twice and may still arrive', () => {
  it('is reported as unknown, also where a later one was stored', async () => {
    const stream = new LateStream({ broker: new MemoryBroker(), stream: 's', subject: 's.db' });
    const { db } = node('a', temporaryFolder(), stream);
    await db.exec('CREATE TABLE t(v)');
    stream.hold = 'first';
    const writes = await Promise.allSettled(['first', 'second'].map((v) => db.run('INSERT INTO t VALUES (?)', [v])));
    expect(writes).toMatchObject([
      { status: 'rejected', reason: { code: 'HA_PUBLISH_UNKNOWN' } },
      { status: 'fulfilled' },
    ]);
    await stream.handOver();
    await until(async () => (await db.all('SELECT v FROM t')).length === 2);
  });
});

describe('A transaction that was refused', () => {
  const { random } = Math;
  afterEach(() => {
    Math.random = random;
  });

  it('is not queued again behind a halt, where nothing would ever answer it', async () => {
    const { db, stream, runtime } = node('a', temporaryFolder(), silent());
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    // The longest pause before it runs again.
    Math.random = () => 0.999;
    stream.refuseNext(1);
    stream.asked = () => setImmediate(() => runtime.subscriber.halt(new HAError('HA_STREAM_RESET', 'gone')));
    const error = await failureOf(db.run('INSERT INTO t(v) VALUES (1)'));
    expect(error).toMatchObject({ code: 'HA_PUBLISH_FAILED', cause: { code: 'HA_STREAM_RESET' } });
    expect(db.status().waitingWrites).toBe(0);
    expect((await failureOf(db.run('INSERT INTO t(v) VALUES (2)'))).code).toBe('HA_STREAM_RESET');
  });
});

describe('A stream that gives no answer', () => {
  it('at any step of the start is asked again', async () => {
    const { db, stream } = node('a', temporaryFolder(), silent());
    stream.silent.state = 2;
    stream.silent.last = 2;
    await db.start();
    await db.exec('CREATE TABLE t(v)');
    expect(db.status().state).toBe('running');
  });

  it('to a refused transaction is asked again', async () => {
    const { db, stream } = node('a', temporaryFolder(), silent());
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    stream.refuseNext(1);
    stream.silent.last = 2;
    await db.run('INSERT INTO t(v) VALUES (1)');
    expect(await db.all('SELECT * FROM t')).toEqual([{ id: 1, v: 1 }]);
  });

  it('for too long fails the transaction as not written', async () => {
    const { db, stream } = node('a', temporaryFolder(), silent());
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    stream.refuseNext(1);
    stream.silent.last = 1_000;
    expect(await failureOf(db.run('INSERT INTO t(v) VALUES (1)'))).toMatchObject({ code: 'HA_PUBLISH_FAILED' });
    stream.silent.last = 0;
    expect(await db.all('SELECT * FROM t')).toEqual([]);
  });
});
