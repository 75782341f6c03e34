import type { HAError } from '../common/ha-error.js';

/** In a cluster with a leader: what says whether this node may publish. */
export interface WriteFence {
  /** Which election this node leads by; messages carry it. */
  readonly term: number;
  /** Why nothing may be published at this moment; undefined where this node leads. */
  refusal(): HAError | undefined;
}
