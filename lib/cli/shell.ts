import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { HARemoteOptions } from '../grpc/client/remote-database.js';
import type { Format } from './format.js';
import { errorLine, interactive } from './interactive.js';
import { ShellSession } from './shell-session.js';
import { CLI_USAGE } from './shell-usage.js';
import { takeStatements } from './statements.js';

const OPTIONS = {
  command: { type: 'string', short: 'c', multiple: true },
  database: { type: 'string', short: 'd' },
  token: { type: 'string' },
  json: { type: 'boolean' },
  csv: { type: 'boolean' },
  timeout: { type: 'string' },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  help: { type: 'boolean' },
} as const;

const DEFAULT_TIMEOUT_MS = 30_000;

type Values = ReturnType<typeof parse>['values'];

function parse(args: string[]) {
  return parseArgs({ args, options: OPTIONS, allowPositionals: true });
}

/**
 * The subcommand `cli`.
 *
 * @returns The exit code: 1 where a statement failed.
 * @throws {TypeError} With a code that begins with `ERR_PARSE_ARGS_` when it is called wrongly.
 */
export async function cliCommand(args: string[]): Promise<number> {
  const { values, positionals } = parse(args);
  if (values.help === true) {
    process.stdout.write(CLI_USAGE);
    return 0;
  }
  const [url, ...others] = positionals;
  if (url === undefined || others.length > 0) throw misuse('Give one URL: http://host:port.');
  process.stdout.on('error', endWithReader);
  const session = new ShellSession(optionsOf(url, values), formatOf(values), (text) => void process.stdout.write(text));
  try {
    if (values.command !== undefined) return await runAll(session, values.command);
    if (process.stdin.isTTY) {
      const historyPath = join(homedir(), '.nestjs-ha_history');
      await interactive(session, url, { input: process.stdin, output: process.stdout, historyPath });
      return 0;
    }
    return await runAll(session, [await readAll()]);
  } finally {
    await session.close();
  }
}

function optionsOf(url: string, values: Values): HARemoteOptions {
  const timeout = values.timeout === undefined ? DEFAULT_TIMEOUT_MS : Number(values.timeout);
  if (!(timeout > 0)) throw misuse('--timeout is a number of milliseconds.');
  const token = values.token ?? process.env['HA_GRPC_TOKEN'];
  const { ca, cert, key } = values;
  const files = Object.entries({ ca, cert, key }).filter(([, file]) => file !== undefined);
  return {
    url,
    timeout,
    ...(token === undefined ? {} : { token }),
    ...(values.database === undefined ? {} : { replicationID: values.database }),
    ...(files.length === 0 ? {} : { tls: Object.fromEntries(files) }),
  };
}

function formatOf({ json, csv }: Values): Format {
  if (json === true && csv === true) throw misuse('--json and --csv exclude each other.');
  if (json === true) return 'json';
  return csv === true ? 'csv' : 'table';
}

/** Runs texts one after another until a statement fails. */
async function runAll(session: ShellSession, texts: readonly string[]): Promise<number> {
  try {
    for (const text of texts) {
      const { statements, rest } = takeStatements(text);
      for (const sql of statements) await session.run(sql);
      if (rest !== '') await session.run(rest.trim());
    }
    if (session.inTransaction)
      throw new Error('The input ended inside a transaction, which is rolled back. End it with COMMIT;');
    return 0;
  } catch (error) {
    process.stderr.write(errorLine(error));
    return 1;
  }
}

/** Who reads our output may have enough of it: `| head`. */
function endWithReader(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
}

async function readAll(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function misuse(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_PARSE_ARGS_MISUSE' });
}
