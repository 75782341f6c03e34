import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInstalled } from '../../../lib/orm/common/installed-version.js';
import type { Peer } from '../../../lib/orm/common/peer.js';

const PEER: Peer = { name: '@some/orm', from: [0, 28], below: [0, 30] };

describe('the version of a package that keeps its package.json to itself', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'peer-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** Checks a package whose package.json, which may be that of another, lies above its main file. */
  function check(manifest: object): void {
    const folder = join(root, 'node_modules', '@some', 'orm');
    mkdirSync(join(folder, 'dist', 'cjs'), { recursive: true });
    const exports = { '.': './dist/cjs/index.js' };
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ exports, ...manifest }));
    writeFileSync(join(folder, 'dist', 'cjs', 'package.json'), JSON.stringify({ type: 'commonjs' }));
    writeFileSync(join(folder, 'dist', 'cjs', 'index.js'), '');
    checkInstalled(PEER, join(root, 'at.js'));
  }

  it.each(['0.28.0', '0.29.9', '0.29.0-rc.1'])('is taken as %s', (version) => {
    check({ name: '@some/orm', version });
  });

  it.each(['0.27.6', '0.30.0', '1.28.0', ''])('is refused as %j', (version) => {
    expect(() => check({ name: '@some/orm', version })).toThrow(
      expect.objectContaining({
        code: 'HA_OPTIONS_INVALID',
        message: expect.stringContaining('@some/orm >=0.28 <0.30'),
      }),
    );
  });

  it('is refused where there is none', () => {
    expect(() => check({ name: 'another' })).toThrow(/an unknown version is installed/);
  });
});

describe('an adapter', () => {
  it.each([
    ['kysely', [0, 28], [0, 30]],
    ['drizzle-orm', [0, 45], [0, 46]],
    ['@nestjs-cls/transactional', [3, 0], [4, 0]],
  ] as const)('finds what is installed of %s', (name, from, below) => {
    checkInstalled({ name, from, below });
  });
});
