import type { KeyValueBucket } from '../stream/key-value.js';
import { keyToken, readJson } from '../stream/membership/member.js';

/** Keys of the nodes beside the key of the leader; go-ha does not look at them. */
const PREFIX = 'node';
const REFRESH_MS = 20_000;

/** What a node of ours tells about itself. */
interface Record {
  readonly node: string;
  readonly session: string;
  /** What it stores at the key of the leader when it leads. */
  readonly target: string;
  /** Revision at which it gave the leadership up. */
  readonly resigned?: number;
}

/**
 * The nodes that may lead, in the leader's bucket: the key of the leader holds nothing but addresses, and this tells whose they
 * are. What is stored there of an address that nobody here has is another program's, such as go-ha.
 */
export class Candidates {
  private revision = 0;
  private written = -Infinity;
  private readonly key: string;

  constructor(
    private readonly bucket: KeyValueBucket,
    private readonly own: Pick<Record, 'node' | 'session' | 'target'>,
    private readonly now: () => number,
  ) {
    this.key = `${PREFIX}.${keyToken(own.node)}`;
  }

  /** Stores the record of this node; from time to time again, for it does not last. */
  async tell(): Promise<void> {
    if (this.now() < this.written + REFRESH_MS) return;
    await this.write(this.own);
  }

  async tellResigned(revision: number): Promise<void> {
    await this.write({ ...this.own, resigned: revision });
  }

  /** Name of the node that has an address; undefined where none of ours has. */
  async nodeAt(target: string): Promise<string | undefined> {
    return (await this.records()).find((record) => record.target === target)?.node;
  }

  /** Whether who led at a revision, or at one behind it, gave that up. */
  async hasResigned(revision: number): Promise<boolean> {
    return (await this.records()).some(({ resigned = 0 }) => resigned >= revision);
  }

  private async records(): Promise<Record[]> {
    const entries = await this.bucket.entries(PREFIX);
    return entries.flatMap(({ value }) => {
      const record = readJson(value, { node: 'string', target: 'string' }) as Record | undefined;
      return record === undefined ? [] : [record];
    });
  }

  private async write(record: Record): Promise<void> {
    const value = JSON.stringify(record);
    for (let attempt = 0; attempt < 3; attempt++) {
      const { bucket, key, revision } = this;
      const stored = revision === 0 ? await bucket.create(key, value) : await bucket.update(key, value, revision);
      if (stored !== undefined) {
        this.revision = stored;
        this.written = this.now();
        return;
      }
      // Of an earlier start, or an answer was lost.
      this.revision = (await bucket.get(key))?.revision ?? 0;
    }
  }
}
