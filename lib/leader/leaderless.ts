import { of } from 'rxjs';
import { HALeader } from './leader.js';

/** Of a database without a leader: every node writes. */
export class Leaderless extends HALeader {
  readonly isConfigured = false;
  readonly changes = of({ isLeader: true });

  isLeader(): boolean {
    return true;
  }

  target(): undefined {
    return undefined;
  }

  async resign(): Promise<void> {
    // There is nothing to give up.
  }

  known(): Promise<{ isLeader: true }> {
    return Promise.resolve({ isLeader: true });
  }
}
