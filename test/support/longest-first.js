import Sequencer from '@jest/test-sequencer';

/** The suites that take longest: begun last, one worker would run them while the others have nothing to do. */
const LONGEST = ['test/sim/sim.spec.ts', 'test/e2e/snapshot/kill.spec.ts', 'test/chaos/chaos.spec.ts'];

/** In a fresh clone nothing tells how long a suite takes, and Jest begins with the largest file. */
export default class LongestFirst extends Sequencer {
  async sort(tests) {
    const rank = ({ path }) => {
      const found = LONGEST.findIndex((name) => path.endsWith(name));
      return found === -1 ? LONGEST.length : found;
    };
    // Sorting is stable: the others stay as Jest has them.
    return [...(await super.sort(tests))].sort((left, right) => rank(left) - rank(right));
  }
}
