import { resolve } from 'node:path';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { readTarGzEntry, readZipEntry } from '../../lib/stream/embedded/archive.js';
import { assertSha256, isOlder, sha256 } from '../../lib/stream/embedded/binary-check.js';
import { pinFor } from '../../lib/stream/embedded/binary-pins.js';
import { releaseURL } from '../../lib/stream/embedded/binary-fetch.js';
import { quote, renderConfig } from '../../lib/stream/embedded/config.js';
import { natsURL, reachableHost } from '../../lib/stream/embedded/probe.js';
import type { EmbeddedNatsSettings } from '../../lib/stream/embedded/settings.js';
import { resolveSettings, settingsKey } from '../../lib/stream/embedded/settings.js';

describe('renderConfig', () => {
  it('writes only what is set', () => {
    expect(renderConfig({ port: 4222, storeDir: '/data' })).toBe(
      'host: "127.0.0.1"\nport: 4222\njetstream {\n  store_dir: "/data"\n}\n',
    );
  });

  it('writes every setting', () => {
    const text = renderConfig({
      host: '0.0.0.0',
      port: 0,
      name: 'n1',
      storeDir: 'C:\\data',
      syncInterval: 'always',
      maxPayload: 2_000_000,
      user: 'app',
      pass: 'p"w',
      portsFileDir: '/run/x',
    });
    expect(text.split('\n')).toEqual([
      'host: "0.0.0.0"',
      'port: -1',
      'server_name: "n1"',
      'max_payload: 2000000',
      'ports_file_dir: "/run/x"',
      'jetstream {',
      '  store_dir: "C:\\\\data"',
      '  sync_interval: "always"',
      '}',
      'authorization {',
      '  user: "app"',
      '  password: "p\\"w"',
      '}',
      '',
    ]);
  });

  it('lets no string break out of its quotes', () => {
    expect(quote('a"\n}\\ $HOME # x\t\u0001é')).toBe('"a\\"\\n}\\\\ $HOME # x\\t\\x01é"');
  });
});

describe('resolveSettings', () => {
  it('fills in the defaults', () => {
    expect(resolveSettings({})).toMatchObject({
      port: 4222,
      host: '127.0.0.1',
      storeDir: resolve('nats-data'),
      syncInterval: '1s',
      startTimeout: 60_000,
    });
  });

  it.each<[string, EmbeddedNatsSettings]>([
    ['port', { port: 70_000 }],
    ['port', { port: Number.NaN }],
    ['host', { host: '' }],
    ['name', { name: 'a b' }],
    ['user', { user: 'u' }],
    ['user', { pass: 'p' }],
    ['pass', { user: 'u', pass: '$2a$11$abcdefghijklmnopqrstuv' }],
    ['maxPayload', { maxPayload: 2 ** 30 }],
    ['syncInterval', { syncInterval: 'often' }],
    ['startTimeout', { startTimeout: 0 }],
  ])('refuses a wrong %s: %j', (setting, settings) => {
    expect(() => resolveSettings(settings)).toThrow(
      expect.objectContaining({ code: 'HA_NATS_SERVER', details: { setting } }),
    );
  });

  it('shares a server exactly between equal settings', () => {
    const key = (settings: EmbeddedNatsSettings): string => settingsKey(resolveSettings(settings));
    expect(key({ port: 4222 })).toBe(key({ startTimeout: 5, log: () => undefined }));
    expect(key({ user: 'a', pass: 'b' })).not.toBe(key({ user: 'a', pass: 'c' }));
    expect(key({ configFile: 'x', port: 1 })).toBe(key({ configFile: './x', port: 2 }));
  });
});

describe('the pinned executable', () => {
  it.each([
    ['2.8.4', '2.9.0', true],
    ['2.10.0', '2.9.0', false],
    ['2.9.0-beta.1', '2.9.0', false],
    ['1.4.1', '2.9.0', true],
  ])('compares %s with %s', (a, b, older) => expect(isOlder(a, b)).toBe(older));

  it('is known for the usual platforms and named as nats-io names it', () => {
    const pin = pinFor('win32', 'x64');
    expect(pin && releaseURL(pin)).toMatch(/\/v2\.15\.1\/nats-server-v2\.15\.1-windows-amd64\.zip$/);
    expect(pinFor('sunos', 'x64')).toBeUndefined();
  });

  it('is refused with both hashes when it differs', () => {
    const actual = sha256(Buffer.from('x'));
    expect(() => assertSha256(Buffer.from('x'), 'ff', 'it')).toThrow(
      expect.objectContaining({ code: 'HA_NATS_SERVER', details: { what: 'it', actual, expected: 'ff' } }),
    );
  });
});

describe('archives', () => {
  const content = Buffer.from('nats-server '.repeat(100));

  it('reads a deflated file of a zip archive', () => {
    expect(readZipEntry(zip('a/nats-server', content), (name) => name === 'a/nats-server')).toEqual(content);
    expect(() => readZipEntry(zip('a', content), () => false)).toThrow('holds no nats-server');
    expect(() => readZipEntry(Buffer.alloc(40), () => true)).toThrow('no zip archive');
  });

  it('reads a file of a gzipped tar archive', () => {
    const archive = gzipSync(Buffer.concat([tar('LICENSE', Buffer.from('l')), tar('v/nats-server', content)]));
    expect(readTarGzEntry(archive, (name) => name === 'v/nats-server')).toEqual(content);
    expect(() => readTarGzEntry(archive, () => false)).toThrow('holds no nats-server');
  });
});

describe('addresses', () => {
  it('replaces wildcards and puts IPv6 in brackets', () => {
    expect(natsURL(reachableHost('0.0.0.0'), 1)).toBe('nats://127.0.0.1:1');
    expect(natsURL(reachableHost('[::]'), 1)).toBe('nats://[::1]:1');
    expect(natsURL(reachableHost('example.test'), 1)).toBe('nats://example.test:1');
  });
});

function zip(name: string, content: Buffer): Buffer {
  const data = deflateRawSync(content);
  const local = Buffer.alloc(30);
  local.writeUInt16LE(name.length, 26);
  local.writeUInt16LE(4, 28); // An extra field that the directory lacks.
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(8, 10);
  entry.writeUInt32LE(data.length, 20);
  entry.writeUInt16LE(name.length, 28);
  const head = Buffer.concat([local, Buffer.from(name), Buffer.alloc(4), data]);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(head.length, 16);
  return Buffer.concat([head, entry, Buffer.from(name), end]);
}

function tar(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(content.length.toString(8).padStart(11, '0'), 124);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
