import { createHash, randomBytes } from 'node:crypto';
import { DiscardPolicy, NatsError, RetentionPolicy, StorageType, StoreCompression, headers } from 'nats';
import type { JetStreamClient, JetStreamManager, StreamConfig } from 'nats';
import { HAError } from '../../common/ha-error.js';
import { inChunks, ObjectDigest } from '../object-digest.js';
import { OBJECT_CHUNK, OBJECT_PIECES_HELD } from '../object-store.js';
import type { ObjectInfo, ObjectStore, ObjectUpload } from '../object-store.js';
import { connectError } from './connect-error.js';
import type { NatsAccess } from './connect-options.js';
import { sendFile } from './file-sender.js';
import type { SentFile } from './file-sender.js';
import { ObjectReader } from './object-reader.js';
import { takesCompression } from './server-version.js';

/** The connection, while there is one. */
export interface ObjectClient {
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  /** Bytes. */
  readonly maxPayload: number;
  readonly version: string | undefined;
}

export interface JetStreamObjectSettings {
  readonly bucket: string;
  readonly replicas: number;
  /** For messages. */
  readonly servers: string;
  /** Files are sent from a thread and over a connection of their own; absent: they are read here. */
  readonly access?: NatsAccess | undefined;
}

/** The object as NATS' clients store it, beside its bytes. */
interface ObjectMeta {
  readonly name: string;
  readonly bucket: string;
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly digest?: string;
  readonly mtime?: string;
  readonly deleted?: boolean;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
  readonly options?: { readonly max_chunk_size?: number; readonly link?: unknown };
  /** What is ours in it: go-ha and other clients pass over it. */
  readonly metadata?: { readonly previous?: string };
  /** What is wrong with it; never stored. */
  readonly damage?: string;
}

interface StoredMeta {
  readonly meta: ObjectMeta;
  readonly revision: number;
  readonly stored: number;
}

/**
 * Pieces that are under way at once. Where a later one is acknowledged, an earlier one has left the client; so none is still
 * looked at by the time that the source fills it anew.
 */
const WINDOW = OBJECT_PIECES_HELD / 2;
const PIECE_TIMEOUT_MS = 10_000;
/** Error codes of the server: https://github.com/nats-io/nats-server/blob/main/server/errors.json */
const NO_MESSAGE_FOUND = 10_037;
const STREAM_NOT_FOUND = 10_059;
const WRONG_LAST_SEQUENCE = 10_071;

/**
 * An object is pieces under an id of its own, and one message that names it (ADR-20). That message replaces its
 * predecessor in one step (roll-up), and it is only stored where it expects the last one rightly: so there is never half an
 * object, and never none in between. Clients' own `put` does neither bound what is under way, nor let the caller compare.
 */
export class JetStreamObjectStore implements ObjectStore {
  private readonly name: string;

  constructor(
    /** Throws while there is no connection: the client itself would keep what is sent until there is one. */
    private readonly client: () => ObjectClient,
    private readonly settings: JetStreamObjectSettings,
  ) {
    this.name = settings.bucket.replace(/[^-\w]/g, '_');
  }

  /** Makes the bucket where it is missing. */
  async open(): Promise<void> {
    await this.ask(async (client) => {
      try {
        await client.jsm.streams.info(this.stream);
      } catch (error) {
        if (apiCode(error) !== STREAM_NOT_FOUND) throw error;
        await this.make(client);
      }
    });
  }

  async info(name: string): Promise<ObjectInfo | undefined> {
    const found = await this.ask((client) => this.metaOf(client, name));
    return found === undefined || found.meta.deleted === true ? undefined : infoOf(found);
  }

  async put(upload: ObjectUpload): Promise<ObjectInfo | undefined> {
    const before = await this.ask((client) => this.metaOf(client, upload.name));
    if (revisionOf(before) !== upload.revision) return undefined;
    const previous = before?.meta.metadata?.previous;
    if (previous !== undefined) await this.purge(previous);
    const prefix = prefixOf(upload.name);
    const id = `${prefix}${randomBytes(11).toString('hex')}`;
    let isNamed = false;
    try {
      const { size, digest, chunks } = (await this.sendFile(upload, id)) ?? (await this.send(upload, id));
      // Listed in front of the switch: whoever began before it is refused behind it, so its pieces are of no use.
      const dead = (await this.chunkIds(prefix)).filter((other) => other !== id && other !== before?.meta.nuid);
      const meta: ObjectMeta = {
        name: upload.name,
        bucket: this.name,
        nuid: id,
        size,
        chunks,
        digest,
        mtime: new Date().toISOString(),
        headers: Object.fromEntries(Object.entries(upload.headers).map(([key, value]) => [key, [value]])),
        options: { max_chunk_size: this.chunkSize },
        ...(before === undefined || before.meta.deleted === true || before.meta.nuid === ''
          ? {}
          : { metadata: { previous: before.meta.nuid } }),
      };
      isNamed = true;
      const revision = await this.store(meta, before?.revision ?? 0);
      if (revision === undefined) {
        await this.purge(id);
        return undefined;
      }
      await Promise.all(dead.map((other) => this.purge(other)));
      return infoOf({ meta, revision, stored: Date.now() });
    } catch (error) {
      // A message that names the pieces may still come through; if not, the next upload removes them.
      if (!isNamed) await this.purge(id);
      throw error;
    }
  }

  async *read(info: ObjectInfo): AsyncGenerator<Buffer> {
    const subject = this.chunkSubject(info.id);
    const reader = new ObjectReader(info, this.stream, subject, (request) => this.ask(request));
    yield* reader.read();
  }

  async delete(name: string, revision: number): Promise<boolean> {
    const before = await this.ask((client) => this.metaOf(client, name));
    if (revisionOf(before) !== revision) return false;
    if (before === undefined || before.meta.deleted === true) {
      for (const id of await this.chunkIds(prefixOf(name))) await this.purge(id);
      return true;
    }
    const { meta } = before;
    const deleted: ObjectMeta = { ...meta, deleted: true, size: 0, chunks: 0, digest: '', metadata: {} };
    if ((await this.store(deleted, revision)) === undefined) return false;
    await this.purge(meta.nuid);
    if (meta.metadata?.previous !== undefined) await this.purge(meta.metadata.previous);
    return true;
  }

  private get stream(): string {
    return `OBJ_${this.name}`;
  }

  private get chunkSize(): number {
    return Math.min(OBJECT_CHUNK, this.client().maxPayload);
  }

  private chunkSubject(id: string): string {
    return `$O.${this.name}.C.${id}`;
  }

  private metaSubject(name: string): string {
    const encoded = Buffer.from(name).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
    return `$O.${this.name}.M.${encoded}`;
  }

  private async make({ jsm, version }: ObjectClient): Promise<void> {
    const { replicas } = this.settings;
    const config: Partial<StreamConfig> = {
      name: this.stream,
      subjects: [`$O.${this.name}.C.>`, `$O.${this.name}.M.>`],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      discard: DiscardPolicy.New,
      allow_rollup_hdrs: true,
      allow_direct: true,
      num_replicas: replicas,
      ...(takesCompression(version) ? { compression: StoreCompression.S2 } : {}),
    };
    try {
      await jsm.streams.add(config);
    } catch (error) {
      // Another node may have made it at the same moment, in another way.
      await jsm.streams.info(this.stream).catch(() => {
        throw error;
      });
    }
  }

  private async metaOf({ jsm }: ObjectClient, name: string): Promise<StoredMeta | undefined> {
    try {
      const message = await jsm.streams.getMessage(this.stream, { last_by_subj: this.metaSubject(name) });
      return { meta: readMeta(message.string(), name), revision: message.seq, stored: message.time.getTime() };
    } catch (error) {
      const code = apiCode(error);
      if (code === NO_MESSAGE_FOUND || code === STREAM_NOT_FOUND) return undefined;
      throw error;
    }
  }

  /** Undefined where the upload is no file, or the server takes no second connection. */
  private async sendFile({ file }: ObjectUpload, id: string): Promise<SentFile | undefined> {
    const { access } = this.settings;
    if (file === undefined || access === undefined) return undefined;
    const task = {
      path: file.path,
      subject: this.chunkSubject(id),
      pieceBytes: this.chunkSize,
      timeout: PIECE_TIMEOUT_MS,
    };
    try {
      return await sendFile(access, task, file.passed);
    } catch (error) {
      throw this.explain(error);
    }
  }

  /** Sends the pieces, a few at a time. One that fails ends all: sent again, it would come behind its successors. */
  private async send({ data }: ObjectUpload, id: string): Promise<{ size: number; digest: string; chunks: number }> {
    const subject = this.chunkSubject(id);
    const digest = new ObjectDigest();
    const underWay = new Set<Promise<void>>();
    const failures: unknown[] = [];
    let chunks = 0;
    try {
      for await (const piece of inChunks(data, this.chunkSize)) {
        digest.add(piece);
        chunks++;
        const sent = this.ask(({ js }) => js.publish(subject, piece, { timeout: PIECE_TIMEOUT_MS })).then(
          () => undefined,
          (error: unknown) => {
            failures.push(error);
          },
        );
        underWay.add(sent);
        void sent.then(() => underWay.delete(sent));
        if (underWay.size >= WINDOW) await Promise.race(underWay);
        if (failures.length > 0) break;
      }
    } finally {
      await Promise.all(underWay);
    }
    if (failures.length > 0) throw failures[0];
    return { size: digest.size, digest: digest.end(), chunks };
  }

  /** Makes an object the one of its name. Undefined where the name is at another revision. */
  private async store(meta: ObjectMeta, expected: number): Promise<number | undefined> {
    const options = headers();
    options.set('Nats-Rollup', 'sub');
    options.set('Nats-Expected-Last-Subject-Sequence', String(expected));
    try {
      const { seq } = await this.ask(({ js }) =>
        js.publish(this.metaSubject(meta.name), JSON.stringify(meta), { headers: options, timeout: PIECE_TIMEOUT_MS }),
      );
      return seq;
    } catch (error) {
      if (isOutdated(error)) return undefined;
      // The answer may be lost: what is stored tells.
      const stored = await this.ask((client) => this.metaOf(client, meta.name)).catch(() => undefined);
      if (stored?.meta.nuid === meta.nuid && stored.meta.deleted === meta.deleted) return stored.revision;
      throw error;
    }
  }

  private async chunkIds(prefix: string): Promise<string[]> {
    const start = this.chunkSubject('');
    const { state } = await this.ask(({ jsm }) => jsm.streams.info(this.stream, { subjects_filter: `${start}>` }));
    return Object.keys(state.subjects ?? {})
      .map((subject) => subject.slice(start.length))
      .filter((id) => id.startsWith(prefix));
  }

  /** Removes pieces. Where that fails the next upload removes them. */
  private async purge(id: string): Promise<void> {
    await this.ask(({ jsm }) => jsm.streams.purge(this.stream, { filter: this.chunkSubject(id) })).catch(
      () => undefined,
    );
  }

  private async ask<T>(request: (client: ObjectClient) => Promise<T>): Promise<T> {
    try {
      return await request(this.client());
    } catch (error) {
      throw this.explain(error);
    }
  }

  private explain(error: unknown): unknown {
    if (error instanceof HAError || !(error instanceof NatsError) || isOutdated(error)) return error;
    const { api_error: answer } = error;
    const isFinal =
      error.isPermissionError() || (answer !== undefined && (answer.code < 500 || isFull(answer.description)));
    if (!isFinal) return connectError(error, this.settings.servers);
    return new HAError(
      'HA_SNAPSHOT_STORE',
      `The object store '${this.name}' at ${this.settings.servers} refuses: ${answer?.description ?? error.message}. Allow this account to create and use it (subjects $O.${this.name}.>), with room for three copies of the database; disableDBSnapshotter=true goes on without.`,
      { cause: error, details: { bucket: this.name } },
    );
  }
}

/** The server's answers where it has no more room are "service unavailable" too. */
function isFull(description: string): boolean {
  return /maximum bytes|resource|insufficient|no space/i.test(description);
}

function isOutdated(error: unknown): boolean {
  return apiCode(error) === WRONG_LAST_SEQUENCE;
}

function apiCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined;
}

function revisionOf(found: StoredMeta | undefined): number {
  return found === undefined || found.meta.deleted === true ? 0 : found.revision;
}

/** Ids of one name's objects begin alike, so that what dead uploads left can be told from what others are uploading. */
function prefixOf(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 16);
}

/** Anybody may have written it: what cannot be right is told as such, so that it can be replaced. */
function readMeta(text: string, name: string): ObjectMeta {
  const damaged = (damage: string): ObjectMeta => ({ name, bucket: '', nuid: '', size: 0, chunks: 0, damage });
  let meta: Partial<ObjectMeta> | null;
  try {
    meta = JSON.parse(text) as Partial<ObjectMeta> | null;
  } catch {
    return damaged('it is no JSON');
  }
  if (typeof meta !== 'object' || meta === null) return damaged('it is no JSON object');
  if (meta.options?.link !== undefined) return damaged('it is a link to another object');
  // Of a deleted one nothing else is read.
  if (typeof meta.nuid !== 'string' || !/^[-\w]+$/.test(meta.nuid)) return damaged('its pieces have no valid name');
  const { deleted, size, chunks } = meta;
  if (deleted !== true && !(isCount(size) && isCount(chunks))) return damaged('its size is missing or wrong');
  const previous = meta.metadata?.previous;
  const isKnown = typeof previous === 'string' && /^[-\w]+$/.test(previous);
  return { ...(meta as ObjectMeta), name, metadata: isKnown ? { previous } : {} };
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function infoOf({ meta, revision, stored }: StoredMeta): ObjectInfo {
  const entries = Object.entries(meta.headers ?? {}).flatMap(([key, list]) =>
    Array.isArray(list) && typeof list[0] === 'string' ? [[key, list[0]] as const] : [],
  );
  return {
    name: meta.name,
    size: meta.size,
    digest: typeof meta.digest === 'string' ? meta.digest : '',
    headers: Object.fromEntries(entries),
    revision,
    stored,
    id: meta.nuid,
    chunks: meta.chunks,
    ...(meta.damage === undefined ? {} : { damage: meta.damage }),
  };
}
