import { parseArgs } from 'node:util';
import type { RowIdentify } from '../../lib/sqlite/schema.js';
import { CLASSES } from './features.js';
import { describe, explain, simulate } from './simulate.js';

const { values } = parseArgs({
  options: {
    histories: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    class: { type: 'string', default: 'all' },
    /** One row identity in place of those of the classes: pk, rowid or full. */
    rowIdentify: { type: 'string' },
    failures: { type: 'string', default: '1' },
    /** Only these histories, shrunk. */
    explain: { type: 'boolean', default: true },
  },
  allowNegative: true,
});

const classes = values.class === 'each' ? Object.keys(CLASSES) : [values.class];
const rowIdentify = values.rowIdentify === undefined ? undefined : [values.rowIdentify as RowIdentify];
const seed = Number(values.seed);
let failed = false;
for (const name of classes) {
  const summary = await simulate(seed, Number(values.histories), name, Number(values.failures), rowIdentify);
  console.log(describe(summary, name, seed));
  for (const failure of summary.failures) {
    failed = true;
    console.log(`\nseed ${failure.seed} of class ${name}: ${failure.reason}`);
  }
  const [first] = summary.failures;
  if (first !== undefined && values.explain) console.log(`\nShrunk: ${await explain(first.seed, name, rowIdentify)}\n`);
}
process.exit(failed ? 1 : 0);
