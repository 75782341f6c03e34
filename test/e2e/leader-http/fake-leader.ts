import { BehaviorSubject, filter, firstValueFrom, timeout } from 'rxjs';
import { HALeader } from '../../../lib/leader/leader.js';
import type { LeaderState, LeaderTarget } from '../../../lib/leader/leader.js';

/** A leadership that the test decides on. */
export class FakeLeader extends HALeader {
  readonly isConfigured: boolean = true;
  readonly changes: BehaviorSubject<LeaderState>;

  constructor(state: LeaderState = { isLeader: false }) {
    super();
    this.changes = new BehaviorSubject(state);
  }

  /** A node that leads. */
  static leading(): FakeLeader {
    return new FakeLeader({ isLeader: true });
  }

  /** A node that follows the leader at a URL. */
  static following(http: string): FakeLeader {
    return new FakeLeader({ isLeader: false, target: { text: http, http } });
  }

  isLeader(): boolean {
    return this.changes.value.isLeader;
  }

  target(): LeaderTarget | undefined {
    return this.changes.value.target;
  }

  async resign(): Promise<void> {
    this.changes.next({ isLeader: false });
  }

  known(ms: number): Promise<LeaderState> {
    return firstValueFrom(
      this.changes.pipe(
        filter(({ isLeader, target }) => isLeader || target !== undefined),
        timeout({ first: ms }),
      ),
    );
  }
}
