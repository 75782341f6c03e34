import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { HAError } from '../../lib/common/ha-error.js';
import { checkPeer, loadPeer } from '../../lib/orm/common/peer.js';

const PEER = { name: 'some-orm', from: [3, 1], below: [4, 0] } as const;

function thrownBy(work: () => unknown): HAError {
  try {
    work();
  } catch (error) {
    if (error instanceof HAError) return error;
    throw error;
  }
  throw new Error('Nothing was thrown.');
}

describe('the package that an adapter derives from', () => {
  it.each(['3.1.0', '3.1.9-beta.1', '3.99.0'])('is taken as %s', (version) => {
    checkPeer(PEER, version);
  });

  it.each(['3.0.9', '2.9.0', '4.0.0', '4.0.0-rc.1', '10.2.0', 'next', ''])('is refused as %s', (version) => {
    const error = thrownBy(() => checkPeer(PEER, version));
    expect(error.code).toBe('HA_OPTIONS_INVALID');
    expect(error.message).toContain(`some-orm >=3.1 <4.0, and ${version} is installed`);
  });

  it('is looked at before anything of it is loaded', () => {
    const folder = mkdtempSync(join(tmpdir(), 'peer-'));
    const name = `orm-${basename(folder)}`;
    const module = join(folder, 'node_modules', name);
    const at = join(folder, 'at.js');
    try {
      mkdirSync(module, { recursive: true });
      writeFileSync(join(module, 'package.json'), JSON.stringify({ name, version: '4.2.0' }));
      expect(thrownBy(() => loadPeer({ ...PEER, name }, 'inner.js', at)).message).toContain('4.2.0 is installed');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('is named where it is not installed', () => {
    const error = thrownBy(() => loadPeer({ ...PEER, name: 'no-such-orm' }, 'inner.js'));
    expect(error.code).toBe('HA_OPTIONS_INVALID');
    expect(error.message).toContain("npm install 'no-such-orm@>=3.1 <4.0'");
  });

  it('is loaded where its version is known', () => {
    const folder = mkdtempSync(join(tmpdir(), 'peer-'));
    const name = `orm-${basename(folder)}`;
    const module = join(folder, 'node_modules', name);
    try {
      mkdirSync(module, { recursive: true });
      writeFileSync(join(module, 'package.json'), JSON.stringify({ name, version: '3.4.0' }));
      writeFileSync(join(module, 'inner.json'), '{"inner":true}');
      expect(loadPeer({ ...PEER, name }, 'inner.json', join(folder, 'at.js'))).toEqual({ inner: true });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
