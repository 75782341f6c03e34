#!/usr/bin/env node
import { HAError } from '../common/ha-error.js';
import { NATS_SERVER_USAGE, natsServerCommand } from './nats-server.js';
import { RESTORE_USAGE, SNAPSHOT_USAGE, VERIFY_USAGE } from './snapshots-usage.js';

const USAGE = `Usage: nestjs-ha <command> [options]

Commands:
  nats-server   run nats-server with JetStream, fetching it where it is missing
  snapshot      store a snapshot of a database, from which new nodes start
  restore       download the snapshot of a cluster to a file
  verify        check the snapshot of a cluster, and a database file
  help          print this

nestjs-ha <command> --help tells the options of a command.
`;

interface Command {
  run: (args: string[]) => Promise<number>;
  usage: string;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  'nats-server': { run: natsServerCommand, usage: NATS_SERVER_USAGE },
  // Loaded when they are asked for: they need SQLite, which a server does not.
  snapshot: { run: async (args) => (await import('./snapshots.js')).snapshotCommand(args), usage: SNAPSHOT_USAGE },
  restore: { run: async (args) => (await import('./snapshots.js')).restoreCommand(args), usage: RESTORE_USAGE },
  verify: { run: async (args) => (await import('./snapshots.js')).verifyCommand(args), usage: VERIFY_USAGE },
};

/** Exit codes: 0 done, 1 failed, 2 called wrongly. */
async function main([name, ...args]: string[]): Promise<number> {
  if (name === 'help' || name === '--help' || name === '-h') {
    process.stdout.write(USAGE);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name ?? '') ? COMMANDS[name ?? ''] : undefined;
  if (!command) return misuse(name === undefined ? 'Which command?' : `Unknown command '${name}'.`, USAGE);
  if (args.includes('--help')) {
    process.stdout.write(command.usage);
    return 0;
  }
  try {
    return await command.run(args);
  } catch (error) {
    return failed(error, command);
  }
}

function failed(error: unknown, command: Command): number {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code?.startsWith('ERR_PARSE_ARGS_')) return misuse(message, command.usage);
  process.stderr.write(`${error instanceof HAError ? message : String((error as Error).stack ?? error)}\n`);
  return 1;
}

function misuse(message: string, usage: string): number {
  process.stderr.write(`${message}\n\n${usage}`);
  return 2;
}

process.exitCode = await main(process.argv.slice(2));
