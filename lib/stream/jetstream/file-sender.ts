import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { NatsError } from 'nats';
import { connectOptions } from './connect-options.js';
import type { NatsAccess } from './connect-options.js';

/** Sent in one round: behind it the caller decides when it goes on. */
const PIECES_AT_ONCE = 8;

/**
 * Runs in the worker. CommonJS and self-contained, so that it runs from sources, bundles and dist alike. In front of each
 * round it waits for a message.
 */
const WORKER = `
const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { open } = require('node:fs/promises');
const { once } = require('node:events');
const { parentPort, workerData } = require('node:worker_threads');
const { connect, credsAuthenticator } = require(workerData.client);

async function send({ path, subject, pieceBytes, atOnce, timeout }, nc) {
  const js = nc.jetstream();
  const hash = createHash('sha256');
  const buffers = Array.from({ length: atOnce }, () => Buffer.allocUnsafeSlow(pieceBytes));
  const file = await open(path, 'r');
  let size = 0;
  let chunks = 0;
  try {
    for (let isMore = true; isMore; ) {
      const sent = [];
      let bytes = 0;
      while (sent.length < atOnce && isMore) {
        const piece = await fill(file, buffers[sent.length]);
        isMore = piece.length === pieceBytes;
        if (piece.length === 0) break;
        hash.update(piece);
        bytes += piece.length;
        const one = js.publish(subject, piece, { timeout });
        // It may fail while the next piece is read: it is looked at below.
        one.catch(() => undefined);
        sent.push(one);
      }
      await Promise.all(sent);
      if (bytes === 0) break;
      size += bytes;
      chunks += sent.length;
      parentPort.postMessage({ passed: bytes });
      await once(parentPort, 'message');
    }
  } finally {
    await file.close();
  }
  return { size, chunks, digest: hash.digest('base64url') };
}

/** A file gives less than was asked for at its end only. */
async function fill(file, buffer) {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

function plain(error) {
  const { message, code, api_error: answer, syscall } = error || {};
  return { message: String(message), code, answer, isOfFile: ['open', 'read'].includes(syscall) };
}

async function run({ options, creds, task }) {
  let nc;
  try {
    const login = creds === undefined ? {} : { authenticator: credsAuthenticator(readFileSync(creds)) };
    nc = await connect({ ...options, ...login, reconnect: false, maxReconnectAttempts: 0 });
  } catch (error) {
    return { refused: plain(error) };
  }
  try {
    return { result: await send(task, nc) };
  } catch (error) {
    return { error: plain(error) };
  } finally {
    await nc.close().catch(() => undefined);
  }
}

run(workerData).then((answer) => parentPort.postMessage(answer), (error) => parentPort.postMessage({ error: plain(error) }));`;

/** Bytes that came through, in pieces of the object. */
export interface SentFile {
  readonly size: number;
  /** `SHA-256=` and the digest in base64 for URLs. */
  readonly digest: string;
  readonly chunks: number;
}

export interface FileTask {
  readonly path: string;
  readonly subject: string;
  readonly pieceBytes: number;
  /** How long one piece may take, ms. */
  readonly timeout: number;
}

interface PlainError {
  readonly message: string;
  readonly code: string | undefined;
  readonly answer: NatsError['api_error'];
  /** It could not be read. */
  readonly isOfFile: boolean;
}

interface Answer {
  readonly passed?: number;
  readonly result?: SentFile;
  readonly error?: PlainError;
  /** The server takes no second connection. */
  readonly refused?: PlainError;
}

/**
 * Publishes a file in pieces from a thread and over a connection of its own: the client copies each piece, and what it
 * leaves to the garbage collector would hold up the loop of the application.
 *
 * @param passed Told of bytes that the server has. A promise holds the next ones back, and what it throws ends all.
 * @returns Undefined where the server takes no second connection: nothing was sent.
 */
export async function sendFile(
  access: NatsAccess,
  task: FileTask,
  passed: (bytes: number) => void | Promise<void>,
): Promise<SentFile | undefined> {
  const { authenticator: _authenticator, ...options } = connectOptions({ ...access, name: `${access.name} upload` });
  const client = createRequire(import.meta.url).resolve('nats');
  const data = { client, options, creds: access.creds, task: { ...task, atOnce: PIECES_AT_ONCE } };
  const worker = new Worker(WORKER, { eval: true, workerData: data });
  try {
    return await new Promise<SentFile | undefined>((resolve, reject) => {
      worker.on('message', (answer: Answer) => {
        if (answer.passed !== undefined) void goOn(worker, answer.passed, passed).catch(reject);
        else if (answer.result !== undefined) resolve(named(answer.result));
        else if (answer.error !== undefined) reject(revived(answer.error));
        else resolve(undefined);
      });
      worker.on('error', reject);
      worker.on('exit', () => reject(new Error('the worker ended')));
    });
  } finally {
    void worker.terminate();
  }
}

async function goOn(worker: Worker, bytes: number, passed: (bytes: number) => void | Promise<void>): Promise<void> {
  await passed(bytes);
  worker.postMessage('on');
}

function named({ digest, ...sent }: SentFile): SentFile {
  return { ...sent, digest: `SHA-256=${digest}=` };
}

/** Errors lose their class on the way between threads. */
function revived({ message, code, answer, isOfFile }: PlainError): Error {
  if (isOfFile) return Object.assign(new Error(message), { code });
  const error = new NatsError(message, code ?? '');
  if (answer !== undefined) error.api_error = answer;
  return error;
}
