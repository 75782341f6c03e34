import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';

const MAIN = 'build/test/chaos/main.js';

/** Runs the harness; resolves with its exit code and all that it printed. */
async function chaos(...args: string[]): Promise<{ code: number; output: string }> {
  await access(MAIN).catch(() => {
    throw new Error(`${MAIN} is missing: run npm run build:chaos first.`);
  });
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { maxBuffer: 2 ** 24 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? 1);
      resolve({ code, output: `${stdout}${stderr}` });
    });
  });
}

describe('Under faults', () => {
  it('all nodes hold the fold of the stream, and no acknowledged write is lost or applied twice', async () => {
    const counts = ['--kills', '12', '--partitions', '3', '--broker-restarts', '2', '--pauses', '3'];
    const { code, output } = await chaos(...counts, '--gap', '500');
    if (code !== 0) console.error(output);
    expect(code).toBe(0);
  }, 120_000);

  it('a cluster with a leader has one writer at a time, and each write is done once or may be run again', async () => {
    const others = ['--kills', '1', '--partitions', '1', '--broker-restarts', '1', '--pauses', '0'];
    const { code, output } = await chaos('--leader', '6', ...others, '--clients', '2', '--gap', '1500');
    if (code !== 0) console.error(output);
    expect(code).toBe(0);
    expect(output).toMatch(/one writer for each position \(\d+ elections\) +\| ok/);
  }, 300_000);

  it('refuses arguments that it does not know', async () => {
    const { code, output } = await chaos('--kils', '3');
    expect(code).toBe(1);
    expect(output).toContain('--kils');
  });
});
