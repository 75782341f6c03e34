import { linkSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { chooseDatabases, readPattern } from '../../../lib/shard/choose-databases.js';
import { databasesHint } from '../../../lib/shard/databases-hint.js';

const named = (
  connection: string,
  filename = `/x/${connection}.db`,
): Parameters<typeof chooseDatabases>[0][number] => ({
  connection,
  filename,
  memory: false,
});
const chosen = (databases: Parameters<typeof chooseDatabases>[0], pattern: RegExp | string): string[] =>
  chooseDatabases(databases, typeof pattern === 'string' ? readPattern(pattern) : pattern).map((one) => one.connection);

describe('chooseDatabases', () => {
  it('matches whole names, whatever the flags', () => {
    const all = ['tenant-1', 'tenant-10', 'Tenant-1', 'tenant-1\nb'].map((name) =>
      named(name, `/x/${name.length}${name}`),
    );
    expect(chosen(all, 'tenant-1')).toEqual(['tenant-1']);
    expect(chosen(all, 'b|tenant-1')).toEqual(['tenant-1']);
    expect(chosen(all, /tenant-1/gmy)).toEqual(['tenant-1']);
    expect(chosen(all, /tenant-1/i)).toEqual(['tenant-1', 'Tenant-1']);
    expect(chosen(all, '(tenant-)+\\d{1,2}')).toEqual(['tenant-1', 'tenant-10']);
  });

  it('takes a file once, whatever it is called', () => {
    const folder = mkdtempSync(join(tmpdir(), 'choose-'));
    try {
      const file = join(folder, 'a.db');
      writeFileSync(file, '');
      symlinkSync(file, join(folder, 'symbolic.db'));
      linkSync(file, join(folder, 'hard.db'));
      symlinkSync(folder, join(folder, 'folder'));
      const paths = [
        file,
        `${folder}/./a.db`,
        relative(process.cwd(), file),
        join(folder, 'symbolic.db'),
        join(folder, 'hard.db'),
        join(folder, 'folder', 'a.db'),
      ];
      expect(
        chosen(
          paths.map((path, i) => named(`d${i}`, path)),
          'd.',
        ),
      ).toEqual(['d0']);
      const missing = [join(folder, 'new.db'), join(folder, 'folder', 'new.db'), join(folder, 'other.db')];
      expect(
        chosen(
          missing.map((path, i) => named(`d${i}`, path)),
          'd.',
        ),
      ).toEqual(['d0', 'd2']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('gives up on a pattern that takes for ever', () => {
    const databases = [named('a'.repeat(60)), named('b')];
    for (const pattern of ['(a+)+x', '(a|aa)*x', 'a*a*a*a*a*a*a*a*a*x']) {
      expect(thrownBy(() => chosen(databases, pattern))).toMatchObject({
        code: 'HA_CROSS_DATABASE_REFUSED',
        message: expect.stringMatching(/too long/),
      });
    }
    expect(chosen(databases, '(b)+')).toEqual(['b']);
  });
});

describe('the hint of a statement', () => {
  it.each([
    ['/*+ db=t.* */ SELECT 1', 't.*'],
    ['/*+ db=t.**/ SELECT 1', 't.*'],
    ['/*+ db=t1*/ SELECT 1', 't1'],
    ['/*+ db=a\\.*/ SELECT 1', 'a\\.'],
    ['/*+ db=t1 */ SELECT 1 /*+ x=2 db=t1 */', 't1'],
    ["/*+ adb=x */ SELECT '/*+ db=a */' -- /*+ db=a */", undefined],
  ])('of %s is %s', (sql, expected) => expect(databasesHint(sql)).toBe(expected));

  it.each([
    ['/*+ db=t.*/ SELECT 1', 'asterisk'],
    ['/*+ db=t\\d*/ SELECT 1', 'asterisk'],
    ['/*+ db=t[0-9]*/ SELECT 1', 'asterisk'],
    ['/*+ db=a */ SELECT 1 /*+ db=.* */', 'two hints'],
    ['/*+ db=a db=b */ SELECT 1', 'two hints'],
  ])('is refused in %s: %s', (sql, reason) => {
    expect(thrownBy(() => databasesHint(sql))).toMatchObject({
      code: 'HA_CROSS_DATABASE_REFUSED',
      message: expect.stringContaining(reason),
    });
  });
});

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}
