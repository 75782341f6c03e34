/**
 * How long things take in an election, ms, by monotonic clocks alone. `lease` is less than `takeover`, and counts from
 * before a renewal is sent, while the other counts from behind the moment at which it was seen: so a leader has stopped
 * before anybody can take its place, whatever the clocks of the nodes say.
 */
export interface LeaderTimings {
  /** The leader renews its lease so often. */
  readonly renew: number;
  /** It leads no longer than this behind the last renewal that was answered. */
  readonly lease: number;
  /** Another node takes over where a lease was not renewed for so long. */
  readonly takeover: number;
  /** So often the others look. */
  readonly look: number;
  /** A leader that is none of ours, as those of go-ha, is taken for gone where nothing is stored for so long: it renews nothing. */
  readonly foreign: number;
  /** Who gave the leadership up does not take it again for so long. */
  readonly abstain: number;
}

export const LEADER_TIMINGS: LeaderTimings = {
  renew: 750,
  lease: 2_500,
  takeover: 3_300,
  look: 300,
  foreign: 70_000,
  abstain: 5_000,
};

/** Time to live of the bucket's values, ms: what go-ha makes it with. */
export const BUCKET_TTL_MS = 60_000;
