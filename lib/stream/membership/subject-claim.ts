import { HAError } from '../../common/ha-error.js';
import type { KeyValueBucket } from '../key-value.js';
import { keyToken, readJson } from './member.js';

/**
 * Holds the subject of a database for its replication ID. Normalizing can turn two IDs into one subject (`a.db` and `a_db`,
 * or equal last 32 characters), and then two databases would become one. All nodes of an ID share one claim, and refresh it
 * in turn.
 */
export class SubjectClaim {
  private readonly key: string;
  private revision = 0;

  constructor(
    private readonly bucket: KeyValueBucket,
    private readonly subject: string,
    private readonly replicationID: string,
  ) {
    this.key = keyToken(replicationID);
  }

  /**
   * Claims the subject, or refreshes the claim where nobody else did since the last call.
   *
   * @throws HAError `HA_SUBJECT_TAKEN` where another replication ID has it.
   */
  async hold(): Promise<void> {
    const value = JSON.stringify({ replicationID: this.replicationID });
    for (;;) {
      const entry = await this.bucket.get(this.key);
      if (entry === undefined) {
        const created = await this.bucket.create(this.key, value);
        if (this.seen(created)) return;
        continue;
      }
      const claim = readJson(entry.value, { replicationID: 'string' }) as { replicationID: string } | undefined;
      if (claim !== undefined && claim.replicationID !== this.replicationID) throw this.taken(claim.replicationID);
      const isRefreshed = this.revision !== 0 && entry.revision !== this.revision;
      if (this.seen(isRefreshed ? entry.revision : await this.bucket.update(this.key, value, entry.revision))) return;
    }
  }

  private seen(revision: number | undefined): boolean {
    this.revision = revision ?? this.revision;
    return revision !== undefined;
  }

  private taken(other: string): HAError {
    const { subject, replicationID } = this;
    return new HAError(
      'HA_SUBJECT_TAKEN',
      `The replication IDs '${replicationID}' and '${other}' share the subject '${subject}', and '${other}' is in use: their rows would be mixed. Set replicationID to one that differs in more than . / * > _ and white space, and within its last 32 characters. If '${other}' is the old name of this database, stop its nodes and wait 30 s.`,
      { details: { subject, replicationID, other } },
    );
  }
}
