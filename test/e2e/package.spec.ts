import { execFile } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What each entry point gives, and which packages that only it needs. */
const ENTRY_POINTS: Record<string, { names: string[]; optional: string[] }> = {
  'nestjs-ha': { names: ['HAModule', 'HADatabase', 'InjectHA', 'OnHAChange', 'getHAToken', 'HAError'], optional: [] },
  'nestjs-ha/testing': { names: ['HATestingModule', 'HATestingBroker'], optional: [] },
  'nestjs-ha/cdc': { names: ['cdcValueJson', 'FileCDCTarget', 'KafkaCDCTarget'], optional: [] },
  'nestjs-ha/config': { names: ['haConfig', 'createHAConfig', 'haSchema'], optional: ['@nestjs/config'] },
  'nestjs-ha/terminus': { names: ['HAHealthIndicator', 'HAHealthModule'], optional: ['@nestjs/terminus'] },
  'nestjs-ha/grpc': {
    names: ['HARemoteDatabase', 'HARemoteModule', 'HAGrpcModule', 'haGrpcOptions', 'haGrpcPort'],
    optional: ['@nestjs/microservices', '@grpc/grpc-js', '@grpc/proto-loader', '@grpc/reflection', 'grpc-health-check'],
  },
  'nestjs-ha/metrics': { names: ['HAMetricsModule'], optional: ['@opentelemetry/api'] },
  'nestjs-ha/kysely': { names: ['HAKyselyDialect', 'retryMigration'], optional: ['kysely'] },
  'nestjs-ha/drizzle': { names: ['drizzle', 'migrate', 'HADrizzleDatabase'], optional: ['drizzle-orm'] },
  'nestjs-ha/typeorm': { names: ['haDataSourceOptions', 'haDataSource', 'haDataSourceFactory'], optional: ['typeorm'] },
  'nestjs-ha/knex': { names: ['haKnexClient', 'orderedTransaction'], optional: ['knex'] },
  'nestjs-ha/cls': { names: ['HATransactionalAdapter'], optional: ['@nestjs-cls/transactional'] },
  'nestjs-ha/sqlite3': { names: ['haSqlite3'], optional: [] },
};
const NEEDED = [
  '@nestjs/common',
  '@nestjs/core',
  'better-sqlite3',
  'reflect-metadata',
  'rxjs',
  'nats',
  'fastest-levenshtein',
  'uuid',
  'sqlite3-parser',
];
const TYPES = ['@types/better-sqlite3', '@types/node', '@standard-schema/spec', 'undici-types'];

let root: string;

/** A project with the packed library and these packages, and nothing else. */
function project(name: string, packages: readonly string[]): string {
  const folder = join(root, name);
  const modules = join(folder, 'node_modules');
  for (const scope of ['@nestjs', '@nestjs-cls', '@grpc', '@opentelemetry', '@types', '@standard-schema'])
    mkdirSync(join(modules, scope), { recursive: true });
  for (const dependency of packages) symlinkSync(resolve('node_modules', dependency), join(modules, dependency));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  return folder;
}

async function install(folder: string): Promise<void> {
  const [tarball = ''] = readdirSync(root).filter((file) => file.endsWith('.tgz'));
  const target = join(folder, 'node_modules', 'nestjs-ha');
  mkdirSync(target);
  await run('tar', ['-xzf', join(root, tarball), '-C', target, '--strip-components=1']);
}

async function load(folder: string, entry: string): Promise<string[]> {
  const script = `await import('reflect-metadata'); console.log(JSON.stringify(Object.keys(await import('${entry}'))))`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder });
  return JSON.parse(stdout) as string[];
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'package-'));
  // The tests run behind the build, and what is packed is what it made.
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', root]);
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('the packed library', () => {
  it.each(Object.entries(ENTRY_POINTS))(
    'gives %s with its own optional packages and no others',
    async (entry, wanted) => {
      const folder = project(entry.replace('/', '-'), [...NEEDED, ...wanted.optional]);
      await install(folder);
      expect(await load(folder, entry)).toEqual(expect.arrayContaining(wanted.names));
    },
  );

  // What Node 20.19, 22.12 and later can `require`: https://nodejs.org/api/modules.html#loading-ecmascript-modules-using-require
  const kinds = 'require_module' in process.features ? ['import', 'require'] : ['import'];
  it.each(kinds)(
    'runs transactions of each ORM, loaded by %s',
    async (kind) => {
      const optional = Object.values(ENTRY_POINTS).flatMap((entry) => entry.optional);
      const folder = project(`orms-${kind}`, [...NEEDED, ...optional, 'nestjs-cls', 'sequelize', 'typeorm-0.3']);
      await install(folder);
      copyFileSync('test/support/packed-orms.js', join(folder, 'packed-orms.js'));
      const { stdout } = await run(process.execPath, ['packed-orms.js', kind], { cwd: folder });
      expect(stdout.trim().split('\n')).toEqual([
        'kysely',
        'typeorm',
        'typeorm 0.3',
        'knex',
        'drizzle',
        'cls',
        'sqlite3',
      ]);
    },
    240_000,
  );

  it('says which package an entry point lacks', async () => {
    const folder = project('bare', NEEDED);
    await install(folder);
    await expect(load(folder, 'nestjs-ha/terminus')).rejects.toThrow(/Cannot find package '@nestjs\/terminus'/);
  });

  it('exports nothing but its entry points', async () => {
    const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, unknown> };
    const entries = Object.keys(ENTRY_POINTS).map((entry) => entry.replace('nestjs-ha', '.'));
    expect(Object.keys(exports).sort()).toEqual([...entries, './package.json'].sort());
  });

  it('has types for every entry point', async () => {
    const optional = Object.values(ENTRY_POINTS).flatMap((entry) => entry.optional);
    const folder = project('types', [...NEEDED, ...TYPES, ...optional]);
    await install(folder);
    const imports = Object.entries(ENTRY_POINTS).map(
      ([entry, { names }]) => `export { ${names.join(', ')} } from '${entry}';`,
    );
    const use = `
      import { Module } from '@nestjs/common';
      import { ConfigModule } from '@nestjs/config';
      import { HAModule, InjectHA, OnHAChange, type HAChange, type HADatabase } from 'nestjs-ha';
      import { haConfig, haSchema } from 'nestjs-ha/config';
      export class Service {
        constructor(@InjectHA() readonly db: HADatabase) {}
        @OnHAChange('t', 'insert') handle(change: HAChange): unknown { return change.after?.['v']; }
      }
      @Module({ imports: [ConfigModule.forRoot({ validationSchema: haSchema }), HAModule.forRootAsync(haConfig.asProvider())] })
      export class AppModule {}
      // @ts-expect-error there is no such option
      HAModule.forRoot({ dsn: 'my.db', nmae: 'x' });
    `;
    writeFileSync(join(folder, 'main.ts'), `${imports.join('\n')}\n${use}`);
    const options = {
      module: 'nodenext',
      target: 'es2023',
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      experimentalDecorators: true,
      emitDecoratorMetadata: false,
      types: ['node'],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['main.ts'] }));
    const failure = await run(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', folder]).then(
      () => '',
      (error: { stdout: string }) => error.stdout,
    );
    expect(failure.split('\n').filter((line) => /^(main|node_modules\/nestjs-ha)/.test(line))).toEqual([]);
    expect(failure.split('\n').filter((line) => line.includes('nestjs-ha'))).toEqual([]);
  }, 240_000);
});
