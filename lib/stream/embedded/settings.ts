import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { natsServerError } from './errors.js';

/** What an embedded nats-server is started with. */
export interface EmbeddedNatsSettings {
  /** TCP port; 0 takes a free one, which is kept through restarts. Default 4222. */
  port?: number;
  /** Address to listen on. Default `127.0.0.1`: this machine only. */
  host?: string;
  /** JetStream's folder, created when missing; one server at a time. Default `./nats-data` in the working directory. */
  storeDir?: string;
  /** Name of the server, without white space. Default `nestjs-ha-<host name>`. */
  name?: string;
  /** User that clients must give, together with `pass`. Default: clients need none. */
  user?: string;
  /** Password of `user`, in plain text. */
  pass?: string;
  /** Largest message in bytes, at most 67,108,864. Default: that of NATS, 1,048,576. */
  maxPayload?: number;
  /**
   * A nats-server configuration file, which then says everything by itself: only `binary`, `log` and `startTimeout` of
   * these settings are used, and the store folder is not locked against a second server. It has to enable JetStream.
   */
  configFile?: string;
  /**
   * How often JetStream calls fsync: a duration such as `1s`, or `always` for each message. A power cut loses what was
   * acknowledged since. Default `1s` (that of NATS is `2m`). Needs nats-server 2.10; an older one keeps its own.
   */
  syncInterval?: string;
  /** Path of the executable. Default: found, or fetched, by `findNatsServer`. */
  binary?: string;
  /** How long the server may take to answer, which includes reading its store, in milliseconds. Default 60,000. */
  startTimeout?: number;
  /** Told each line of the server's log and each step of starting it; of settings that share a server, the first one's. Default: nobody. */
  log?: (line: string) => void;
}

/** Settings with their defaults filled in and checked; paths are absolute. */
export interface ResolvedSettings {
  readonly port: number;
  readonly host: string;
  readonly storeDir: string;
  readonly name: string;
  readonly user: string | undefined;
  readonly pass: string | undefined;
  readonly maxPayload: number | undefined;
  readonly configFile: string | undefined;
  readonly syncInterval: string;
  readonly binary: string | undefined;
  readonly startTimeout: number;
}

const LARGEST_PAYLOAD = 64 * 1024 * 1024;
const LARGEST_PORT = 65_535;

// NATS takes a password of this form for a bcrypt hash, and then no client gets in with it.
const BCRYPT = /^\$2[abxy]?\$\d\d\$/;

/**
 * Fills in the defaults and checks each setting.
 *
 * @throws {HAError} HA_NATS_SERVER with the setting's name in `details.setting`.
 */
export function resolveSettings(settings: EmbeddedNatsSettings): ResolvedSettings {
  const resolved: ResolvedSettings = {
    port: settings.port ?? 4222,
    host: settings.host ?? '127.0.0.1',
    storeDir: resolve(settings.storeDir ?? 'nats-data'),
    name: settings.name ?? `nestjs-ha-${hostname().replace(/\s+/g, '-')}`,
    user: settings.user,
    pass: settings.pass,
    maxPayload: settings.maxPayload,
    configFile: settings.configFile === undefined ? undefined : resolve(settings.configFile),
    syncInterval: settings.syncInterval ?? '1s',
    binary: settings.binary === undefined ? undefined : resolve(settings.binary),
    startTimeout: settings.startTimeout ?? 60_000,
  };
  checkNumbers(resolved);
  checkStrings(resolved);
  return resolved;
}

function checkNumbers({ port, maxPayload, startTimeout }: ResolvedSettings): void {
  require(isInteger(port, 0, LARGEST_PORT), 'port', `an integer from 0 to ${LARGEST_PORT}; 0 takes a free port`);
  const payload = maxPayload === undefined || isInteger(maxPayload, 1, LARGEST_PAYLOAD);
  require(payload, 'maxPayload', `an integer from 1 to ${LARGEST_PAYLOAD}, in bytes`);
  require(startTimeout > 0, 'startTimeout', 'a positive number of milliseconds');
}

function checkStrings({ host, name, user, pass, syncInterval }: ResolvedSettings): void {
  require(host !== '', 'host', 'an address of this machine, such as 127.0.0.1');
  require(/^\S+$/.test(name), 'name', 'a name without white space');
  require((user === undefined) === (pass === undefined), 'user', 'given together with pass, or neither of them');
  require(user !== '' && pass !== '', 'user', 'non-empty, and so must pass');
  require(!BCRYPT.test(pass ?? ''), 'pass', 'the plain text, not a bcrypt hash');
  require(/^(always|(\d+(ns|us|ms|s|m|h))+)$/.test(
    syncInterval,
  ), 'syncInterval', "'always' or a duration such as '1s'");
}

function isInteger(value: number, from: number, to: number): boolean {
  return Number.isInteger(value) && value >= from && value <= to;
}

function require(holds: boolean, setting: string, expectation: string): void {
  if (!holds) throw natsServerError(`${setting} of the embedded nats-server must be ${expectation}.`, { setting });
}

/** A key that is equal exactly for settings that can share one server. */
export function settingsKey(settings: ResolvedSettings): string {
  const { configFile, binary, startTimeout: _, ...own } = settings;
  return JSON.stringify(configFile === undefined ? { ...own, binary } : { configFile, binary });
}
