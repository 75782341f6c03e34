import type { Step } from '../../../lib/apply/interception.js';
import type { Capture } from '../../../lib/capture/capture.js';
import { EffectRecorder } from '../../../lib/cdc/effect-recorder.js';
import BetterSqlite3 from 'better-sqlite3';

it('passes on to the steps that they are given up, in front of closing what it captures with', () => {
  const order: string[] = [];
  const capture = { open: () => order.push('open'), close: () => order.push('close') } as unknown as Capture;
  const db = new BetterSqlite3(':memory:');
  const recorder = new EffectRecorder(db, capture, { sequence: 1 });
  function* steps(): Generator<Step, number> {
    try {
      yield undefined;
      return 1;
    } finally {
      order.push('ended');
    }
  }
  const run = recorder.around({ sequence: 1, node: 'n', timestampNs: 0n }, steps());
  expect(run.next().done).toBe(false);
  run.return(0);
  expect(order).toEqual(['open', 'ended', 'close']);
  db.close();
});
