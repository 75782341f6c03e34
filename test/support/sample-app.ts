import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

/** An instance of the sample application in a process of its own. */
export class SampleApp {
  private constructor(
    private readonly process: ChildProcess,
    readonly url: string,
  ) {}

  /** Starts a compiled sample on a free port, and resolves once it listens. */
  static async start(
    dsn: string | undefined,
    sample = '01-basic',
    variables: Record<string, string> = {},
  ): Promise<SampleApp> {
    const main = `build/sample/${sample}/main.js`;
    await access(main).catch(() => {
      throw new Error(`${main} is missing: run npm run build && npm run build:sample first.`);
    });
    const env = { ...process.env, NO_COLOR: '1', PORT: '0', HA_DSN: dsn, ...variables };
    const child = fork(main, { env, silent: true });
    return new SampleApp(child, await listening(child));
  }

  async request(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  }

  /** Stops it as an operator would; resolves with the exit code, or the signal that ended it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string | null> {
    const { process: child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode ?? child.signalCode;
    child.kill(signal);
    const [code, ended] = (await once(child, 'exit')) as [number | null, string | null];
    return code ?? ended;
  }
}

/** A port that is free at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      const url = /Listening on (\S+)/.exec(output)?.[1];
      if (url !== undefined) resolve(url);
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.on('exit', (code) => reject(new Error(`The sample ended with ${code} before it listened:\n${output}`)));
  });
}
