/** What {@link renderConfig} writes down. */
export interface ConfigSettings {
  /** Address to listen on. Default `127.0.0.1`. */
  host?: string;
  /** TCP port; 0 asks the server for a free one. */
  port: number;
  /** Name of the server, without white space. Default: left out, and the server makes one up. */
  name?: string;
  /** JetStream's folder. */
  storeDir: string;
  /** How often JetStream calls fsync, such as `1s` or `always`. Default: left out, the default of NATS. */
  syncInterval?: string;
  /** Largest message in bytes. Default: left out, the default of NATS. */
  maxPayload?: number;
  /** User that clients must give. Default: none. */
  user?: string;
  /** Password of `user`, in plain text. */
  pass?: string;
  /** Folder in which the server leaves a file with the ports it listens on. Default: left out. */
  portsFileDir?: string;
}

/**
 * The text of a nats-server configuration file. Pure.
 *
 * Source: https://docs.nats.io/running-a-nats-service/configuration
 */
export function renderConfig(settings: ConfigSettings): string {
  const lines = [
    `host: ${quote(settings.host ?? '127.0.0.1')}`,
    // To the server 0 means its default port; -1 asks for a free one.
    `port: ${settings.port === 0 ? -1 : settings.port}`,
    ...optional('server_name', settings.name),
    ...optional('max_payload', settings.maxPayload),
    ...optional('ports_file_dir', settings.portsFileDir),
    ...block('jetstream', [
      ...optional('store_dir', settings.storeDir),
      ...optional('sync_interval', settings.syncInterval),
    ]),
  ];
  if (settings.user !== undefined) lines.push(...authorization(settings.user, settings.pass ?? ''));
  return `${lines.join('\n')}\n`;
}

function authorization(user: string, pass: string): string[] {
  return block('authorization', [...optional('user', user), ...optional('password', pass)]);
}

function optional(key: string, value: string | number | undefined): string[] {
  if (value === undefined) return [];
  return [`${key}: ${typeof value === 'number' ? value : quote(value)}`];
}

function block(name: string, lines: readonly string[]): string[] {
  return [`${name} {`, ...lines.map((line) => `  ${line}`), '}'];
}

const ESCAPES: Readonly<Record<string, string>> = { '"': '\\"', '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * A string literal of the configuration language. Within double quotes neither variables (`$NAME`) nor comments are
 * read; only the escapes below exist.
 */
export function quote(value: string): string {
  const escaped = value.replace(/["\\\p{Cc}]/gu, (character) => {
    // \xHH stands for one byte, so the control characters above 0x7f, two bytes in UTF-8, are left as they are.
    const code = character.charCodeAt(0);
    const hex = code > 0x7f ? character : `\\x${code.toString(16).padStart(2, '0')}`;
    return ESCAPES[character] ?? hex;
  });
  return `"${escaped}"`;
}
