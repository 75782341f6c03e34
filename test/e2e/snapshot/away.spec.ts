import { roundsAway } from './away.js';

const rounds = Number(process.env['AWAY_ROUNDS'] ?? 3);
const print = (line: string): void => void process.stdout.write(`${line}\n`);

describe('a node that is away for longer than the stream remembers', () => {
  it(
    `comes back by itself, ${rounds} times, with equal checksums`,
    async () => {
      await expect(roundsAway({ rounds, print: rounds > 3 ? print : () => undefined })).resolves.toBe(rounds);
    },
    60_000 + rounds * 40_000,
  );
});
