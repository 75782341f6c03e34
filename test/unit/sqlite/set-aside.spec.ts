import { existsSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SetAside } from '../../../lib/sqlite/set-aside.js';
import { temporaryFolder } from '../../helper/cluster.js';

const SUFFIXES = ['', '-wal', '-shm'];

function moved(): { path: string; dir: string; aside: SetAside } {
  const dir = temporaryFolder();
  const path = join(dir, 'a.db');
  for (const suffix of SUFFIXES) writeFileSync(path + suffix, `old${suffix}`);
  const aside = SetAside.begin(path, new Date());
  aside.move();
  return { path, dir, aside };
}

function build(path: string): void {
  for (const suffix of SUFFIXES) writeFileSync(path + suffix, `new${suffix}`);
}

function expectOld(path: string, dir: string): void {
  expect(readdirSync(dir).toSorted()).toEqual(['a.db', 'a.db-shm', 'a.db-wal']);
  for (const suffix of SUFFIXES) expect(readFileSync(path + suffix, 'utf8')).toBe(`old${suffix}`);
}

describe('a database that is set aside, where the process dies', () => {
  it.each([0, 1, 2, 3])('behind %d files moved, is put back', (count) => {
    const { path, dir, aside } = moved();
    for (const suffix of SUFFIXES.slice(0, 3 - count)) renameSync(aside.target + suffix, path + suffix);
    SetAside.unfinished(path)?.restore();
    expectOld(path, dir);
  });

  it.each([0, 1, 2, 3])('behind %d files put back, is put back by the next start', (count) => {
    const { path, dir, aside } = moved();
    if (count === 0) build(path);
    for (const suffix of SUFFIXES.slice(0, count)) renameSync(aside.target + suffix, path + suffix);
    SetAside.unfinished(path)?.restore();
    expectOld(path, dir);
  });

  it.each([0, 1, 2])('behind %d files of the new one removed, is put back by the next start', (count) => {
    const { path, dir } = moved();
    build(path);
    for (const suffix of SUFFIXES.slice(0, count)) rmSync(path + suffix);
    SetAside.unfinished(path)?.restore();
    expectOld(path, dir);
  });

  it('behind the end, stays where it is', () => {
    const { path, aside } = moved();
    build(path);
    aside.finish();
    expect(SetAside.unfinished(path)).toBeUndefined();
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(existsSync(aside.target)).toBe(true);
  });
});
