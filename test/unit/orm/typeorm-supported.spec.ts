import { readFileSync } from 'node:fs';
import { DataSource } from 'typeorm';
import { isSupported, refuseVersion, refuseWithout, versionOf } from '../../../lib/orm/typeorm/supported.js';

describe('versions of TypeORM', () => {
  it.each([
    ['0.3.20', true],
    ['0.3.31', true],
    ['1.0.0', true],
    ['1.1.1', true],
    ['1.9.0-dev.1', true],
    ['0.2.45', false],
    ['0.3.19', false],
    ['0.4.0', false],
    ['2.0.0', false],
    ['unknown', false],
  ])('%s: %s', (version, supported) => {
    expect(isSupported(version)).toBe(supported);
  });

  it('are refused with the range that is known, and what to do', () => {
    expect(() => refuseVersion('2.0.0')).toThrow(
      expect.objectContaining({
        code: 'HA_OPTIONS_INVALID',
        message: expect.stringMatching(/\^0[.]3[.]20 \|\| \^1[.]0[.]0; version 2[.]0[.]0 .* npm install/) as string,
        details: { package: 'typeorm', range: '^0.3.20 || ^1.0.0', version: '2.0.0' },
      }),
    );
    expect(() => refuseVersion(undefined)).not.toThrow();
  });

  it('are those that package.json names', () => {
    const { peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      peerDependencies: Record<string, string>;
    };
    expect(() => refuseVersion('9.0.0')).toThrow(peerDependencies['typeorm']);
  });

  it('are refused where classes lack what is overridden, whatever they say', () => {
    class Runner {
      query(): void {}
    }
    expect(() => refuseWithout(new Runner(), ['query', 'getStmt'])).toThrow(/Runner has no getStmt/);
    expect(() => refuseWithout(new Runner(), ['query'])).not.toThrow();
  });

  it('are read of the copy that a DataSource is of', () => {
    const { version } = JSON.parse(readFileSync('node_modules/typeorm/package.json', 'utf8')) as { version: string };
    expect(versionOf(new DataSource({ type: 'better-sqlite3', database: ':memory:' }))).toBe(version);
    expect(versionOf({} as DataSource)).toBeUndefined();
  });
});
