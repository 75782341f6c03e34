import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { ShellSession } from './shell-session.js';
import { takeStatements } from './statements.js';

/** Where a shell reads and writes. */
export interface Terminal {
  readonly input: Readable;
  readonly output: Writable;
  /** File that keeps what was typed. */
  readonly historyPath: string;
}

const HISTORY_LINES = 1_000;
const HELP = `SQL ends with ';'. Besides: HISTORY; UNDO from; SHOW DATABASES; SET DATABASE name; \\timing  \\? this help  \\q end\n`;

/** An error as a line. */
export function errorLine(error: unknown): string {
  const { code, message } = error as Error & { code?: string };
  return `Error: ${message}${code === undefined ? '' : ` (${code})`}\n`;
}

/** Reads lines until `\q` or the end of the input; a statement may take several. */
export async function interactive(session: ShellSession, url: string, terminal: Terminal): Promise<void> {
  const { input, output, historyPath: path } = terminal;
  const lines = createInterface({
    input,
    output,
    terminal: true,
    history: readHistory(path),
    historySize: HISTORY_LINES,
    removeHistoryDuplicates: true,
  });
  lines.on('history', (history: string[]) => writeHistory(path, history));
  output.write(`${url}\n${HELP}`);
  let text = '';
  lines.on('SIGINT', () => {
    text = '';
    output.write('\n');
    prompt(lines, session, text);
  });
  prompt(lines, session, text);
  for await (const line of lines) {
    const command = text === '' ? line.trim() : '';
    if (/^(\\q|exit|quit|\.quit)$/i.test(command)) break;
    if (command.startsWith('\\')) output.write(backslash(session, command));
    else text = await runComplete(session, `${text}${line}\n`, output);
    prompt(lines, session, text);
  }
  lines.close();
}

function backslash(session: ShellSession, command: string): string {
  if (command !== '\\timing') return HELP;
  session.timing = !session.timing;
  return `Timing is ${session.timing ? 'on' : 'off'}.\n`;
}

/** Runs what is complete, and returns the rest. */
async function runComplete(session: ShellSession, text: string, output: Writable): Promise<string> {
  const { statements, rest } = takeStatements(text);
  for (const sql of statements) {
    try {
      await session.run(sql);
    } catch (error) {
      output.write(errorLine(error));
      return '';
    }
  }
  return rest;
}

function prompt(lines: Interface, session: ShellSession, text: string): void {
  const name = session.name ?? 'sql';
  lines.setPrompt(text === '' ? `${name}> ` : `${' '.repeat(Math.max(0, name.length - 3))}...> `);
  lines.prompt();
}

/** Newest first, as readline keeps it. */
function readHistory(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

/** Statements may hold secrets: nobody else may read them. */
function writeHistory(path: string, history: readonly string[]): void {
  try {
    // The mode of a file that is there already is not changed by writing.
    if (existsSync(path)) chmodSync(path, 0o600);
    writeFileSync(path, history.map((line) => `${line}\n`).join(''), { mode: 0o600 });
  } catch {
    // A home that cannot be written to is no reason to end.
  }
}
