import { parseArgs } from 'node:util';
import { findNatsServer } from '../stream/embedded/binary.js';
import { EmbeddedNatsServer } from '../stream/embedded/server.js';
import type { EmbeddedNatsSettings } from '../stream/embedded/settings.js';

/** The help text of `nestjs-ha nats-server`. */
export const NATS_SERVER_USAGE = `Usage: nestjs-ha nats-server [options]

Runs nats-server with JetStream in the foreground until SIGINT or SIGTERM; fetches it first where it is missing.

  --port N        port to listen on, 0 for a free one (default 4222)
  --host H        address to listen on (default 127.0.0.1)
  --store-dir D   folder of JetStream (default ./nats-data)
  --name N        name of the server
  --user U        user that clients must give; needs --pass
  --pass P        password of that user; other users of this machine see it in the list of processes
  --config F      nats-server configuration file, used instead of the options above
  --fetch-only    only make sure that nats-server is there, and print its path
  --json          print one line of JSON instead of text
  --help          print this
`;

const OPTIONS = {
  port: { type: 'string' },
  host: { type: 'string' },
  'store-dir': { type: 'string' },
  name: { type: 'string' },
  user: { type: 'string' },
  pass: { type: 'string' },
  config: { type: 'string' },
  'fetch-only': { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

const logToStderr = (line: string): void => void process.stderr.write(`${line}\n`);

/**
 * The subcommand `nats-server`.
 *
 * @param args What follows the subcommand's name.
 * @returns The exit code.
 * @throws {TypeError} With a code that begins with `ERR_PARSE_ARGS_` when an option is unknown.
 * @throws {HAError} HA_NATS_SERVER when nats-server cannot be found or started.
 */
export async function natsServerCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: OPTIONS });
  if (values.help) return print(NATS_SERVER_USAGE);
  if (values['fetch-only']) {
    const binary = await findNatsServer({ log: logToStderr });
    return print(values.json ? `${JSON.stringify(binary)}\n` : `${binary.path}\n`);
  }
  const settings = {
    port: values.port === undefined ? undefined : Number(values.port || Number.NaN),
    host: values.host,
    storeDir: values['store-dir'],
    name: values.name,
    user: values.user,
    pass: values.pass,
    configFile: values.config,
  };
  return runUntilSignal({ ...settings, log: logToStderr }, values.json ?? false);
}

async function runUntilSignal(settings: EmbeddedNatsSettings, json: boolean): Promise<number> {
  const stopped = stopSignal();
  const server = await EmbeddedNatsServer.acquire(settings);
  const { url, port, pid, version, storeDir, binary } = server;
  const facts = { url, port, pid, version, storeDir, binary: binary.path, origin: binary.origin };
  print(json ? `${JSON.stringify(facts)}\n` : `nats-server ${version}, ${binary.path} (${binary.origin})\n${url}\n`);
  // The embedded server does not keep this process alive by itself.
  const alive = setInterval(() => undefined, 60_000);
  await stopped;
  clearInterval(alive);
  await server.release();
  return 0;
}

/** Resolves at the first SIGINT or SIGTERM. Later ones are ignored: the stop is under way. */
function stopSignal(): Promise<void> {
  return new Promise((done) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => done());
  });
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}
