import { readFileSync } from 'node:fs';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { Test } from '@nestjs/testing';
import { renderOptionTable } from '../../../lib/config/docs.js';
import type { HAOptions } from '../../../lib/config/options.js';
import { resolveOptions } from '../../../lib/config/resolve.js';
import { OPTION_SPECS, SPEC_BY_NAME } from '../../../lib/config/spec.js';
import { haConfig, haSchema } from '../../../lib/ha-config.js';
import { problemsOf } from './helper.js';
import { SAMPLES } from './samples.js';

const encode = (values: Readonly<Record<string, string>>): string =>
  Object.entries(values)
    .map(([name, value]) => `&${name}=${encodeURIComponent(value)}`)
    .join('');

const environmentOf = (values: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [SPEC_BY_NAME.get(name)?.env[0] ?? name, value]));

describe.each(OPTION_SPECS.map((spec) => [spec.name, spec] as const))('option %s', (name, spec) => {
  const sample = SAMPLES[name];
  // Some options are refused without a partner.
  const needed = sample.with ?? {};
  const fallback = resolveOptions('my.db', {}, {});

  function check(resolved: object): void {
    expect(resolved).toHaveProperty(name, sample.resolved);
    expect(fallback[name]).not.toEqual(sample.resolved);
  }

  it('by the options object, as value and as text', () => {
    check(resolveOptions('my.db', { ...needed, [name]: sample.object ?? sample.text }, {}));
    check(resolveOptions({ dsn: 'my.db', ...needed, [name]: sample.text }, undefined, {}));
  });

  it.each(spec.dsn)('by DSN parameter %s', (parameter) => {
    check(resolveOptions(`file:my.db?${parameter}=${encodeURIComponent(sample.text)}${encode(needed)}`, {}, {}));
    check(resolveOptions(`./my.db?${parameter}=${encodeURIComponent(sample.text)}${encode(needed)}`, {}, {}));
  });

  it.each(spec.env)('by environment variable %s', (variable) => {
    check(resolveOptions('my.db', needed, { [variable]: sample.text }));
  });

  it('object before DSN before environment before default', () => {
    const text = encodeURIComponent(sample.text);
    const other = sample.other ?? spec.default ?? 'other';
    const env = { [spec.env[0] ?? '']: other };
    check(resolveOptions(`my.db?${name}=${text}${encode(needed)}`, {}, env));
    check(resolveOptions(`my.db?${name}=${encodeURIComponent(other)}${encode(needed)}`, { [name]: sample.text }, env));
    const empty = { [spec.env[0] ?? '']: '' };
    expect(resolveOptions('my.db', { [name]: undefined }, empty)).toEqual(fallback);
  });

  it('is checked where another source goes first, too', () => {
    const wrong = { [spec.env[0] ?? '']: '\u0001' };
    const problems = problemsOf(() =>
      resolveOptions(`my.db?${name}=%02${encode(needed)}`, { [name]: sample.text }, wrong),
    );
    expect(problems).toHaveLength(2);
    expect(problems[0]).toMatch(new RegExp(`^DSN parameter ${name} \\(overridden by option ${name}\\): .*; allowed: `));
    expect(problems[1]).toContain(`environment variable ${spec.env[0]} (overridden by option ${name}): `);
  });

  it.each(spec.env)('by @nestjs/config, from %s', async (variable) => {
    const values = { [variable]: sample.text, ...environmentOf(needed) };
    const before = { ...process.env };
    Object.assign(process.env, values);
    try {
      const app = await Test.createTestingModule({
        imports: [ConfigModule.forRoot({ ignoreEnvFile: true, load: [haConfig], validationSchema: haSchema })],
      }).compile();
      const given = app.get(ConfigService).get<HAOptions>('ha');
      await app.close();
      check(resolveOptions({ dsn: 'my.db', ...given }, undefined, {}));
    } finally {
      for (const variable of Object.keys(values)) delete process.env[variable];
      Object.assign(process.env, before);
    }
  });

  it('is documented in JSDoc with meaning, DSN, environment and default', () => {
    const file = ['options.ts', 'stream-options.ts']
      .map((file) => readFileSync(new URL(`../../../lib/config/${file}`, import.meta.url), 'utf8'))
      .join('\n');
    const end = file.indexOf(`\n  ${name}?: `);
    const jsdoc = file.slice(file.lastIndexOf('/**', end), end);
    const flat = jsdoc.replace(/\s*\n\s*\*\s*/g, ' ');
    expect(flat).toContain(spec.doc);
    const ticked = (names: readonly string[]): string => names.map((text) => `\`${text}\``).join(' or ');
    expect(flat).toContain(`DSN ${ticked(spec.dsn)}, environment ${ticked(spec.env)}.`);
    expect(jsdoc).toContain(`@default ${spec.computed ?? spec.default ?? 'none'}\n`);
  });

  it('is a row of the documentation', () => {
    expect(
      renderOptionTable()
        .split('\n')
        .filter((line) => line.startsWith(`| \`${name}\` |`)),
    ).toHaveLength(1);
  });
});

it('renders a table with the same number of columns in each row', () => {
  const lines = renderOptionTable().trimEnd().split('\n');
  expect(lines).toHaveLength(OPTION_SPECS.length + 2);
  for (const line of lines) expect(line.split(/(?<!\\)\|/)).toHaveLength(7);
});

it('names every DSN parameter and variable once', () => {
  const names = OPTION_SPECS.flatMap((spec) => [...spec.dsn, ...spec.env]);
  expect(new Set(names).size).toBe(names.length);
});
