import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { interactive } from '../../../lib/cli/interactive.js';
import { ShellSession } from '../../../lib/cli/shell-session.js';
import { onCleanup, temporaryFolder, until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the built command; what it reads comes from `input`. */
function cli(args: readonly string[], input = '', env: Record<string, string> = {}): Promise<Ended> {
  if (!existsSync('dist/cli/main.js')) throw new Error('dist is missing: run npm run build first.');
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['dist/cli/main.js', 'cli', ...args],
      { env: { ...process.env, ...env } },
      (error, out, err) => resolve({ code: Number(error?.code ?? 0), out, err }),
    );
    child.stdin?.end(input);
  });
}

async function started(): Promise<{ app: GrpcApp; url: string }> {
  const app = await GrpcApp.start(
    { dsn: ':memory:', replicationID: 'a', grpcToken: 'secret', connection: 'a' },
    { dsn: ':memory:', replicationID: 'b', grpcToken: 'secret', connection: 'b' },
  );
  await app.db('a').exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  return { app, url: `http://${app.target('a')}` };
}

const TOKEN = { HA_GRPC_TOKEN: 'secret' };

describe('nestjs-ha cli', () => {
  it('runs commands, prints what they give, and fails with the first that does', async () => {
    const { app, url } = await started();
    const commands = ['-c', `INSERT INTO t VALUES(1, 'x'), (2, NULL)`, '-c', 'SELECT * FROM t'];
    expect(await cli([url, '-d', 'a', ...commands], '', TOKEN)).toEqual({
      code: 0,
      err: '',
      out: [
        'ok, 2 rows changed',
        '┌────┬──────┐',
        '│ id │ v    │',
        '├────┼──────┤',
        '│  1 │ x    │',
        '│  2 │ NULL │',
        '└────┴──────┘',
        '2 rows',
        '',
      ].join('\n'),
    });
    const failed = await cli([url, '-d', 'a', '--json', '-c', 'SELECT 1 AS x; SELEC; DELETE FROM t'], '', TOKEN);
    expect(failed).toEqual({ code: 1, out: '[{"x":1}]\n', err: 'Error: near "SELEC": syntax error (SQLITE_ERROR)\n' });
    expect(await app.db('a').get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
  });

  it('reads a script from standard input, transactions and databases in it', async () => {
    const { app, url } = await started();
    const script = `SHOW DATABASES; SET DATABASE a;
      BEGIN; INSERT INTO t VALUES(1, 1); ROLLBACK;
      BEGIN; INSERT INTO t VALUES(2, 2); COMMIT;
      SELECT id FROM t; SET DATABASE = 'b'; SELECT count(*) AS n FROM sqlite_schema WHERE name = 't'`;
    expect(await cli([url, '--csv', '--token', 'secret'], script)).toEqual({
      code: 0,
      err: '',
      out: 'database\r\na\r\nb\r\nid\r\n2\r\nn\r\n0\r\n',
    });
    expect(await app.db('a').all('SELECT id FROM t')).toEqual([{ id: 2 }]);
  });

  it.each([
    [['-c', 'SELECT 1'], TOKEN, 1, /names no database.*HA_UNKNOWN_DATABASE/],
    [['-d', 'a', '-c', 'SELECT 1'], {}, 1, /does not take the token.*HA_UNAUTHENTICATED/],
    [['-d', 'a', '-c', 'SET DATABASE c'], TOKEN, 1, /no database 'c'. Choose between: a, b/],
    [['-d', 'a', '-c', 'HISTORY'], TOKEN, 1, /keeps no history: it has no stream/],
    [['--json', '--csv'], TOKEN, 2, /exclude each other[^]*Usage: nestjs-ha cli/],
    [['--timeout', 'x'], TOKEN, 2, /number of milliseconds/],
    [['--what'], TOKEN, 2, /--what/],
    [['another'], TOKEN, 2, /one URL/],
  ])('ends with %j and %j as %s', async (args, env, code, message) => {
    const { url } = await started();
    const ended = await cli([url, ...args], '', env);
    expect(ended.err).toMatch(message);
    expect(ended.code).toBe(code);
  });

  it('runs several commands one after another, whatever each ends with', async () => {
    const { app, url } = await started();
    const commands = [
      '-c',
      'INSERT INTO t VALUES(1, 1) -- a comment',
      '-c',
      "INSERT INTO t VALUES(2, '",
      '-c',
      'SELECT 1',
    ];
    expect(await cli([url, '-d', 'a', ...commands], '', TOKEN)).toMatchObject({ code: 1, out: 'ok, 1 row changed\n' });
    expect(await app.db('a').all('SELECT id FROM t')).toEqual([{ id: 1 }]);
  });

  it('fails where its input ends inside a transaction', async () => {
    const { app, url } = await started();
    const open = [
      'BEGIN; INSERT INTO t VALUES(1, 1);',
      'SAVEPOINT a; SAVEPOINT b; RELEASE b; INSERT INTO t VALUES(2, 2)',
    ];
    for (const input of open) {
      const ended = await cli([url, '-d', 'a'], input, TOKEN);
      expect(ended).toMatchObject({ code: 1, err: expect.stringContaining('ended inside a transaction') as string });
    }
    const closed = ['BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT', 'SAVEPOINT a; SAVEPOINT b; RELEASE a', 'BEGIN; END;'];
    for (const input of closed) expect(await cli([url, '-d', 'a'], input, TOKEN)).toMatchObject({ code: 0, err: '' });
    expect(await app.db('a').all('SELECT id FROM t')).toEqual([]);
  });

  it('ends quietly when nobody reads any more', async () => {
    const { url } = await started();
    const many = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000) SELECT i FROM n';
    const child = spawn(process.execPath, ['dist/cli/main.js', 'cli', url, '-d', 'a', '-c', many], {
      env: { ...process.env, ...TOKEN },
    });
    let err = '';
    child.stderr.on('data', (text: Buffer) => (err += text.toString()));
    child.stdout.once('data', () => child.stdout.destroy());
    const [code] = (await once(child, 'close')) as [number];
    expect({ code, err }).toEqual({ code: 0, err: '' });
  });

  it('says that the server cannot be reached', async () => {
    const ended = await cli(['http://127.0.0.1:1', '--timeout', '200', '-c', 'SELECT 1']);
    expect(ended).toMatchObject({ code: 1, err: expect.stringMatching(/cannot be reached.*HA_UNAVAILABLE/) as string });
    expect((await cli(['--help'])).out).toMatch(/^Usage: nestjs-ha cli <url>/);
  });
});

it('is a shell on a terminal: lines, history, timing, errors, databases', async () => {
  const { url } = await started();
  const input = new PassThrough();
  const output = new PassThrough();
  let text = '';
  output.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const session = new ShellSession(
    { url, token: 'secret', replicationID: 'a' },
    'table',
    (part) => void output.write(part),
  );
  onCleanup(() => session.close());
  const historyPath = join(temporaryFolder(), 'history');
  writeFileSync(historyPath, '', { mode: 0o644 });
  const ended = interactive(session, url, { input, output, historyPath });
  const type = async (line: string, answer: RegExp): Promise<void> => {
    text = '';
    input.write(`${line}\n`);
    await until(() => answer.test(text));
  };
  await until(() => text.includes('a> '));
  await type('INSERT INTO t', /\.\.\.> /);
  await type(`VALUES(1, 'one');`, /ok, 1 row changed/);
  await type('SELECT v FROM t; SELECT 2 AS two;', /one[^]*two/);
  await type('\\timing', /Timing is on/);
  await type('SELECT 1;', /Time: \d+\.\d ms/);
  await type('SELEC;', /Error: near "SELEC": syntax error \(SQLITE_ERROR\)/);
  await type('\\?', /SET DATABASE name/);
  await type('BEGIN;', /ok/);
  await type('DELETE FROM t;', /1 row changed/);
  await type('ROLLBACK;', /ok/);
  await type('SELECT count(*) FROM t;', /│\s+1 │/);
  await type('SET DATABASE b;', /Database b[^]*b> /);
  input.write('\\q\n');
  await ended;
  expect(readFileSync(historyPath, 'utf8').split('\n').slice(0, 2)).toEqual(['\\q', 'SET DATABASE b;']);
  expect(statSync(historyPath).mode & 0o777).toBe(0o600);
});
