import { NatsError } from 'nats';
import type { JetStreamClient, KV, KvEntry } from 'nats';
import { HAError } from '../../common/ha-error.js';
import { sleep } from '../../common/timing.js';
import { KeyValueDenied } from '../key-value.js';
import type { KeyValueBucket, KeyValueEntry } from '../key-value.js';
import { connectError } from './connect-error.js';
import type { PendingRequests } from './pending-requests.js';

export interface KeyValueClient {
  readonly js: JetStreamClient;
  readonly requests: PendingRequests;
}

export interface JetStreamKeyValueSettings {
  readonly bucket: string;
  readonly ttlMs: number | undefined;
  readonly replicas: number;
  /** For messages. */
  readonly servers: string;
}

/** How often a request that nobody listens to is sent, and the pause between, ms. */
const NOBODY_TRIES = 3;
const NOBODY_PAUSE_MS = 250;
/** Error codes of the server: https://github.com/nats-io/nats-server/blob/main/server/errors.json */
const STREAM_NOT_FOUND = 10_059;
const STREAM_NAME_EXISTS = 10_058;
const INSUFFICIENT_RESOURCES = 10_023;

/** A bucket of JetStream's key-value store: https://docs.nats.io/nats-concepts/jetstream/key-value-store */
export class JetStreamKeyValue implements KeyValueBucket {
  private readonly name: string;
  private view: Promise<KV> | undefined;

  constructor(
    /** Throws while there is no connection: the client itself would keep what is sent until there is one. */
    private readonly client: () => KeyValueClient,
    private readonly settings: JetStreamKeyValueSettings,
  ) {
    // Names of streams may have more characters than those of buckets.
    this.name = settings.bucket.replace(/[^-\w]/g, '_');
  }

  /** Makes the bucket where it is missing. */
  async open(): Promise<void> {
    await this.ask(async () => undefined);
  }

  async get(key: string): Promise<KeyValueEntry | undefined> {
    return present(key, await this.ask((kv) => kv.get(encodeKey(key))));
  }

  async create(key: string, value: string): Promise<number | undefined> {
    return this.unlessOutdated((kv) => kv.create(encodeKey(key), Buffer.from(value)));
  }

  async update(key: string, value: string, revision: number): Promise<number | undefined> {
    return this.unlessOutdated((kv) => kv.update(encodeKey(key), Buffer.from(value), revision));
  }

  async delete(key: string, revision?: number): Promise<boolean> {
    const encoded = encodeKey(key);
    const options = revision === undefined ? {} : { previousSeq: revision };
    const deleted = await this.unlessOutdated(async (kv) => {
      await kv.delete(encoded, options);
      return true;
    });
    return deleted ?? (await this.get(key)) === undefined;
  }

  async entries(prefix: string): Promise<KeyValueEntry[]> {
    const start = `$KV.${this.name}.`;
    const subjects = await this.ask(async () => {
      // The client's own list of keys comes from a consumer, and ends early or never where keys change meanwhile.
      const manager = await this.client().js.jetstreamManager(false);
      const filter = `${start}${encodeKey(prefix)}.*`;
      const { state } = await manager.streams.info(`KV_${this.name}`, { subjects_filter: filter });
      return Object.keys(state.subjects ?? {});
    });
    const keys = subjects.map((subject) => decodeKey(subject.slice(start.length)));
    const entries = await Promise.all(keys.map((key) => this.get(key)));
    return entries.filter((entry) => entry !== undefined);
  }

  /** Undefined where the server refuses because the key is at another revision. */
  private async unlessOutdated<T>(request: (kv: KV) => Promise<T>): Promise<T | undefined> {
    return this.ask(async (kv) => {
      try {
        return await request(kv);
      } catch (error) {
        if (error instanceof NatsError && /wrong last sequence/i.test(error.api_error?.description ?? '')) {
          return undefined;
        }
        throw error;
      }
    });
  }

  private async ask<T>(request: (kv: KV) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { js, requests } = this.client();
        this.view ??= this.bind(js);
        return await requests.run(this.view.then(request));
      } catch (error) {
        // Next time the bucket is looked for again, and made where somebody has deleted it.
        this.view = undefined;
        if (!isNobody(error)) throw this.explain(error);
        if (attempt === NOBODY_TRIES) throw this.denied(error, 'nobody answers for it');
        await sleep(NOBODY_PAUSE_MS);
        await this.requireLeader();
      }
    }
  }

  private async bind(js: JetStreamClient): Promise<KV> {
    const { settings } = this;
    const options = {
      description: 'nestjs-ha',
      replicas: settings.replicas,
      ...(settings.ttlMs === undefined ? {} : { ttl: settings.ttlMs }),
      // Any replica answers a direct read, also one that lags behind.
      allow_direct: false,
    };
    try {
      return await js.views.kv(this.name, options);
    } catch (error) {
      // Another node has made it at the same moment, in another way.
      if (apiCode(error) === STREAM_NAME_EXISTS) return js.views.kv(this.name, options);
      throw error;
    }
  }

  /** Nobody answers for a bucket that has no leader now; where it has one, its subjects are closed to the account. */
  private async requireLeader(): Promise<void> {
    try {
      const manager = await this.client().js.jetstreamManager(false);
      const { cluster } = await manager.streams.info(`KV_${this.name}`);
      if (cluster === undefined || cluster.leader !== undefined) return;
    } catch (error) {
      if (isNobody(error) || apiCode(error) === STREAM_NOT_FOUND) return;
      throw this.explain(error);
    }
    throw connectError(new Error(`the key-value bucket '${this.name}' has no leader`), this.settings.servers);
  }

  private explain(error: unknown): Error {
    if (error instanceof HAError) return error;
    if (error instanceof NatsError) {
      if (error.isPermissionError()) return this.denied(error, error.message);
      const { api_error: answer } = error;
      if (answer !== undefined && isFinal(answer)) return this.denied(error, answer.description);
    }
    return connectError(error, this.settings.servers);
  }

  private denied(cause: unknown, reason: string): KeyValueDenied {
    return new KeyValueDenied(`The key-value bucket '${this.name}' at ${this.settings.servers}: ${reason}`, { cause });
  }
}

function apiCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined;
}

/** True where the server means it: not that it cannot tell now, nor that the bucket was deleted and can be made again. */
function isFinal({ code, err_code }: { readonly code: number; readonly err_code?: number | undefined }): boolean {
  return err_code === INSUFFICIENT_RESOURCES || (code < 500 && err_code !== STREAM_NOT_FOUND);
}

/** True where no server listens to what was asked: JetStream is away, or this part of it is not open to the account. */
function isNobody(error: unknown): boolean {
  return error instanceof NatsError && error.code === '503' && error.api_error === undefined;
}

function present(key: string, entry: KvEntry | null): KeyValueEntry | undefined {
  if (entry === null || entry.operation !== 'PUT') return undefined;
  return { key, value: entry.string(), revision: entry.revision, stored: entry.created.getTime() };
}

/** Keys of a bucket may hold only `-/_=.` and alphanumerics: each other byte becomes `=` and two hexadecimal digits. */
function encodeKey(key: string): string {
  return key.replace(/[^-\w/.]+/g, (text) =>
    [...Buffer.from(text)].map((byte) => `=${byte.toString(16).padStart(2, '0')}`).join(''),
  );
}

function decodeKey(key: string): string {
  return key.replace(/(=[0-9a-f]{2})+/g, (text) => Buffer.from(text.replaceAll('=', ''), 'hex').toString());
}
