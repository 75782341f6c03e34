import { CLASSES } from './features.js';
import { describe as summarize, explain, simulate } from './simulate.js';

const TOTAL = Number(process.env['SIM_HISTORIES'] ?? 2_000);
/** A new seed every day; a failure is run again with `SIM_SEED`. */
const SEED = Number(process.env['SIM_SEED'] ?? new Date().toISOString().slice(0, 10).replaceAll('-', ''));

/** Two fifths of the histories have everything in them; the others are of one class each, where less hides the rest. */
const NAMES = Object.keys(CLASSES).filter((name) => name !== 'all' && name !== 'async-all');
const SHARES = [
  ['all', TOTAL / 5] as const,
  ['async-all', TOTAL / 5] as const,
  ...NAMES.map((name) => [name, (TOTAL * 0.6) / NAMES.length] as const),
];

describe('histories', () => {
  it.each(SHARES)(
    'of class %s end with every node equal to the fold of the stream',
    async (name, share) => {
      const summary = await simulate(SEED, Math.ceil(share), name);
      process.stdout.write(`${summarize(summary, name, SEED)}\n`);
      const [failure] = summary.failures;
      if (failure === undefined) return;
      throw new Error(`SIM_SEED=${failure.seed}, class ${name}: ${await explain(failure.seed, name)}`);
    },
    600_000,
  );
});
