import { MemoryBroker } from '../stream/memory/memory-broker.js';
import { MemoryStream } from '../stream/memory/memory-stream.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import { subjectOf } from '../config/normalize.js';

/**
 * The stream of tests: it lives in this process, and forgets everything with it. Applications that share one replicate to
 * each other as they would through NATS.
 */
export class HATestingBroker {
  private readonly memory = new MemoryBroker();
  private readonly streams = new Map<string, MemoryStream>();

  /**
   * Cuts the connection of a node, or of all nodes: reads go on, writes wait, as without a server.
   *
   * @param node Name of the node; of all where it is left out.
   */
  disconnect(node?: string): void {
    for (const stream of this.streamsOf(node)) stream.disconnect();
  }

  /** Restores what {@link disconnect} cut. */
  async connect(node?: string): Promise<void> {
    await Promise.all(this.streamsOf(node).map((stream) => stream.connect()));
  }

  /** A name for a node that no other node of the same database has at this broker. @internal */
  nameFor(options: Pick<ResolvedHAOptions, 'name' | 'replicationID' | 'replicationStream'>): string {
    for (let count = 1; ; count++) {
      const name = count === 1 ? options.name : `${options.name}-${count}`;
      if (!this.streams.has(keyOf({ ...options, name }))) return name;
    }
  }

  /** The place of a node at this broker. @internal */
  streamFor(options: ResolvedHAOptions): MemoryStream {
    const stream = new MemoryStream({
      broker: this.memory,
      stream: options.replicationStream,
      subject: subjectOf(options.replicationStream, options.replicationID),
      replicas: options.replicas,
    });
    this.streams.set(keyOf(options), stream);
    return stream;
  }

  private streamsOf(node: string | undefined): MemoryStream[] {
    const all = [...this.streams];
    return all.filter(([key]) => node === undefined || key.startsWith(`${node}\n`)).map(([, stream]) => stream);
  }
}

function keyOf({
  name,
  replicationID,
  replicationStream,
}: Pick<ResolvedHAOptions, 'name' | 'replicationID' | 'replicationStream'>): string {
  return `${name}\n${subjectOf(replicationStream, replicationID)}`;
}
