import { parseArgs } from 'node:util';
import { CLASSES } from './features.js';
import { describe, explain, simulate } from './simulate.js';

const { values } = parseArgs({
  options: {
    histories: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    class: { type: 'string', default: 'all' },
    failures: { type: 'string', default: '1' },
    /** Only these histories, shrunk. */
    explain: { type: 'boolean', default: true },
  },
  allowNegative: true,
});

const classes = values.class === 'each' ? Object.keys(CLASSES) : [values.class];
const seed = Number(values.seed);
let failed = false;
for (const name of classes) {
  const summary = await simulate(seed, Number(values.histories), name, Number(values.failures));
  console.log(describe(summary, name, seed));
  for (const failure of summary.failures) {
    failed = true;
    console.log(`\nseed ${failure.seed} of class ${name}: ${failure.reason}`);
  }
  const [first] = summary.failures;
  if (first !== undefined && values.explain) console.log(`\nShrunk: ${await explain(first.seed, name)}\n`);
}
process.exit(failed ? 1 : 0);
