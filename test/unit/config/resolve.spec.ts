import { hostname } from 'node:os';
import { readEnvironment } from '../../../lib/config/environment.js';
import type { HAOptions } from '../../../lib/config/options.js';
import { resolveOptions, type HAOptionsWithDsn } from '../../../lib/config/resolve.js';
import { problemsOf } from './helper.js';

const resolve = (dsn: string, options: HAOptions = {}, env: Record<string, string> = {}) =>
  resolveOptions(dsn, options, env);

it('has the defaults of the table', () => {
  expect(resolve('file:/data/my.db')).toEqual({
    filename: '/data/my.db',
    memory: false,
    mustExist: false,
    pragmas: [],
    mode: 'standalone',
    asyncPublisher: false,
    autoStart: true,
    bootstrap: 'auto',
    clusterSize: 1,
    concurrency: 'lww',
    deliverPolicy: { kind: 'all' },
    allowCrossDatabase: false,
    disableDBSnapshotter: false,
    disableDDLSync: false,
    disablePublisher: false,
    disableSubscriber: false,
    generatedIds: 'ordered',
    consistentReadTimeout: 2_000,
    forwardTimeout: 30_000,
    grpcHost: '127.0.0.1',
    grpcInsecure: false,
    grpcTimeout: 5_000,
    name: hostname(),
    natsHost: '127.0.0.1',
    natsPort: 4222,
    natsSyncInterval: 1_000,
    publisherTimeout: 15_000,
    replicas: 1,
    replicationID: 'my.db',
    replicationStream: 'ha_replication',
    replicationURL: [],
    rowIdentify: 'pk',
    snapshotInterval: 60_000,
    transactionTimeout: 5_000,
  });
});

it('reads process.env unless told otherwise', () => {
  process.env['HA_CLUSTER_SIZE'] = '5';
  try {
    expect(resolveOptions('my.db').clusterSize).toBe(5);
  } finally {
    delete process.env['HA_CLUSTER_SIZE'];
  }
});

it.each<[string, string]>([
  ['my.db', 'my.db'],
  ['file:./data/my.db', 'my.db'],
  ['C:\\data\\x.db', 'x.db'],
  [':memory:', ''],
  ['file:orders?mode=memory', 'orders'],
])('the replication ID of %s is %j', (dsn, id) => {
  expect(resolve(dsn).replicationID).toBe(id);
});

it.each<[string, Record<string, string>, string]>([
  ['my.db', {}, 'standalone'],
  ['my.db?natsServer=/bin/nats-server', {}, 'standalone'],
  ['my.db?natsPort=4222', {}, 'embedded'],
  ['my.db', { HA_NATS_SYNC_INTERVAL: '1s' }, 'embedded'],
  ['my.db', { HA_NATS_CONFIG_FILE: '/n.conf' }, 'embedded'],
  ['my.db', { HA_REPLICATION_URL: 'nats://h' }, 'external'],
])('%s with %j is %s', (dsn, env, mode) => {
  expect(resolve(dsn, {}, env).mode).toBe(mode);
});

it('listens for gRPC on all addresses only with a token', () => {
  expect(resolve('my.db?grpcPort=1').grpcHost).toBe('127.0.0.1');
  expect(resolve('my.db?grpcPort=1&grpcToken=x').grpcHost).toBe('0.0.0.0');
  expect(resolve('my.db?grpcPort=1&grpcToken=x&grpcHost=::1').grpcHost).toBe('::1');
});

it('takes grpcTls for its three options', () => {
  const tls = { cert: '/c', key: '/k', ca: '/a' };
  const wanted = { grpcTlsCert: '/c', grpcTlsKey: '/k', grpcTlsCa: '/a' };
  expect(resolve({ dsn: 'my.db', grpcTls: tls } as never)).toMatchObject(wanted);
  expect(problemsOf(() => resolve({ dsn: 'my.db', grpcTls: { crt: '/c' } } as never)).join()).toMatch(
    /grpcTlsCrt is unknown/,
  );
  expect(problemsOf(() => resolve({ dsn: 'my.db', grpcTls: 'x' } as never)).join()).toMatch(/grpcTls is unknown/);
});

it('derives generatedIds', () => {
  expect(resolve('my.db').generatedIds).toBe('ordered');
  expect(resolve('my.db?asyncPublisher=1').generatedIds).toBe('overwrite');
  expect(resolve('my.db?asyncPublisher=1&generatedIds=ordered').generatedIds).toBe('ordered');
  expect(resolve('my.db?disableSubscriber=1').generatedIds).toBe('overwrite');
});

it('takes streamMaxAge=0 for no limit, also against the environment', () => {
  expect(resolve('my.db?streamMaxAge=0', {}, { HA_STREAM_MAX_AGE: '1h' }).streamMaxAge).toBeUndefined();
});

it.each<[string, unknown]>([
  ['all', { kind: 'all' }],
  ['last', { kind: 'last' }],
  ['new', { kind: 'new' }],
  ['by_start_sequence=7', { kind: 'startSequence', sequence: 7n }],
  ['by_start_time=2026-01-31T15:04:05Z', { kind: 'startTime', time: new Date('2026-01-31T15:04:05Z') }],
  ['by_start_time=2024-02-29t15:04:05.123456789+02:00', { kind: 'startTime', time: new Date(1709211845123) }],
])('deliverPolicy %s', (deliverPolicy, parsed) => {
  expect(resolve('my.db', { deliverPolicy }).deliverPolicy).toEqual(parsed);
});

it.each<[HAOptions | Record<string, unknown>, string]>([
  [{ asyncPublisher: 'yes' }, 'option asyncPublisher: "yes" is not a boolean; allowed: 1, t, T'],
  [{ asyncPublisher: 1 }, '1 is not a boolean'],
  [{ clusterSize: 0 }, 'out of range; allowed: an integer from 1'],
  [{ clusterSize: 1.5 }, '1.5 is not an integer'],
  [{ clusterSize: 'x' }, '"x" is not an integer'],
  [{ natsPort: 65_536 }, 'allowed: an integer from 0 to 65535'],
  [{ natsPort: -1 }, 'out of range'],
  [{ replicas: 6 }, 'allowed: an integer from 1 to 5'],
  [{ grpcPort: '' }, '"" is not an integer'],
  [{ name: '' }, 'is empty'],
  [{ name: null }, 'null is not a text'],
  [{ name: 'a\nb' }, 'control character'],
  [{ name: '...' }, 'allowed: ASCII letters'],
  [{ name: 'a@b' }, 'allowed: ASCII letters'],
  [{ replicationID: '__' }, 'allowed: a text with at least one'],
  ...['a b', 'a.b', 'a*', 'a>', 'a/b', 'a\\b', 'x'.repeat(201)].map((replicationStream): [HAOptions, string] => [
    { replicationStream },
    'allowed: at most 200 letters',
  ]),
  [{ publisherTimeout: '15' }, 'a unit is missing'],
  [{ publisherTimeout: '-1s' }, 'out of range'],
  [{ publisherTimeout: 0 }, 'out of range'],
  [{ publisherTimeout: Number.NaN }, 'is not a duration'],
  [{ publisherTimeout: '600h' }, 'out of range'],
  [{ streamMaxAge: '-1h' }, 'out of range'],
  [{ streamMaxAge: '1ms' }, 'out of range'],
  [{ natsMaxPayload: '8XB' }, 'is not a size'],
  [{ natsMaxPayload: [8000] }, 'is not a size'],
  [{ natsMaxPayload: '65MB' }, 'out of range'],
  [{ concurrency: 'LWW' }, 'allowed: lww, serializable'],
  [{ rowIdentify: 'key' }, 'allowed: pk, rowid, full'],
  [{ queryRouter: '(' }, 'allowed: a regular expression'],
  [{ leaderProvider: 'http://h' }, 'allowed: dynamic:TARGET'],
  [{ leaderProvider: 'static:' }, 'allowed: dynamic:TARGET'],
  [{ leaderProvider: 'static:a,,b' }, 'allowed: dynamic:TARGET'],
  [{ replicationURL: 'http://u:hunter2@h' }, 'the value is not allowed; allowed: one or more URLs nats://'],
  [{ replicationURL: 'nats://u:hunter2@h,' }, 'the value is not allowed'],
  [{ grpcToken: 5 }, 'option grpcToken: the value is not allowed'],
  ...[
    'ALL',
    'by_start_sequence=0',
    'by_start_sequence=-1',
    'by_start_sequence=18446744073709551616',
    'by_start_sequence',
  ]
    .concat(['by_start_time=2026-02-30T00:00:00Z', 'by_start_time=2026-01-01', 'by_start_time=2026-13-01T00:00:00Z'])
    .map((deliverPolicy): [HAOptions, string] => [{ deliverPolicy }, 'allowed: all, last, new, by_start_sequence=N']),
  [{ nmae: 'x' }, 'option nmae is unknown; did you mean name?'],
  [{ natsUser: 'u' }, 'natsUser (option natsUser) needs natsPass'],
  [{ natsPass: 'hunter2' }, 'needs natsUser'],
  [{ replicationTlsCert: '/c' }, 'needs replicationTlsKey'],
  [{ asyncPublisher: true, concurrency: 'serializable' }, 'asyncPublisher=true excludes concurrency=serializable'],
  [{ asyncPublisherOutboxDir: '/o' }, 'needs asyncPublisher=true'],
  [{ disableSubscriber: true, concurrency: 'serializable' }, 'disableSubscriber=true excludes concurrency'],
  [{ disableSubscriber: true, generatedIds: 'ordered' }, 'disableSubscriber=true excludes generatedIds=ordered'],
])('%j is refused', (options, message) => {
  const problems = problemsOf(() => resolve('my.db', options));
  expect(problems).toHaveLength(1);
  expect(problems[0]).toContain(message);
  expect(problems[0]).not.toContain('hunter2');
});

it('refuses two NATS servers and names both, with where they are set', () => {
  const env = { HA_NATS_PORT: '4222', HA_NATS_NAME: 'n' };
  const [problem] = problemsOf(() => resolve('my.db?replicationURL=nats://u:hunter2@h', { natsHost: '::1' }, env));
  expect(problem).toContain('replicationURL (DSN parameter replicationURL)');
  expect(problem).toContain('natsHost (option natsHost), natsName (environment variable HA_NATS_NAME), natsPort');
  expect(problem).not.toContain('hunter2');
});

it('refuses aliases in the environment that differ, and takes equal ones', () => {
  const env = { HA_ROW_IDENTIFY: 'pk', HA_ROW_IDENTIDY: 'full' };
  expect(problemsOf(() => readEnvironment(env))[0]).toContain('HA_ROW_IDENTIFY and HA_ROW_IDENTIDY');
  expect(problemsOf(() => resolve('my.db', {}, env))).toHaveLength(1);
  expect(readEnvironment({ ...env, HA_ROW_IDENTIDY: 'pk', PATH: '/bin' })).toEqual({ rowIdentify: 'pk' });
  expect(readEnvironment({ ...env, HA_ROW_IDENTIDY: '' })).toEqual({ rowIdentify: 'pk' });
});

it('lists the problems of all sources in one error', () => {
  const env = { HA_REPLICAS: '9', HA_ROW_IDENTIFY: 'pk', HA_ROW_IDENTIDY: 'full' };
  const problems = problemsOf(() => resolve('?x=1&grpcPort=-1', { natsPort: 70_000, natsUser: 'u' }, env));
  expect(problems).toHaveLength(7);
});

it('ignores what the module reads itself, and refuses a DSN that is no text', () => {
  const options = { dsn: 'my.db', connection: 'orders', isGlobal: false, retryAttempts: 3 } as HAOptionsWithDsn;
  expect(resolveOptions(options, undefined, {}).filename).toBe('my.db');
  expect(problemsOf(() => resolveOptions({} as HAOptionsWithDsn, undefined, {}))[0]).toContain(
    'option dsn: it is missing',
  );
  expect(problemsOf(() => resolveOptions({ dsn: 5 } as never, undefined, {}))[0]).toContain('option dsn: 5 is not');
});

it('checks what the module reads itself, and names the database', () => {
  const options = { dsn: 'my.db', connection: 'orders', retryAttempts: -1, retryDelay: 'soon' };
  expect(problemsOf(() => resolveOptions(options as never, undefined, {}))).toEqual([
    expect.stringContaining('option retryAttempts: -1 is out of range; allowed: an integer from 0'),
    expect.stringContaining('option retryDelay: "soon" is not an integer'),
  ]);
  expect(() => resolveOptions(options as never, undefined, {})).toThrow(`The options of database "orders" have 2`);
});

it.each([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((text) => [text, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((text) => [text, false] as const),
])('the boolean %s is %s in the DSN and in the environment', (text, value) => {
  const opposite = { HA_DISABLE_PUBLISHER: String(!value) };
  expect(resolve(`my.db?disablePublisher=${text}`, {}, opposite).disablePublisher).toBe(value);
  expect(resolve('my.db', {}, { HA_AUTO_START: text }).autoStart).toBe(value);
});

it.each([
  ['1h30m', 5_400_000],
  ['1.5s', 1_500],
  ['100ms', 100],
  ['2m0.5s', 120_500],
])('the duration %s is %s ms in the DSN and in the environment', (text, value) => {
  expect(resolve(`my.db?publisherTimeout=${text}`).publisherTimeout).toBe(value);
  expect(resolve('my.db', {}, { HA_SNAPSHOT_INTERVAL: text }).snapshotInterval).toBe(value);
});

it('does not report one mistake twice where two sources agree on it', () => {
  expect(problemsOf(() => resolve('my.db?natsPort=x', { natsPort: 'x' as never }, { HA_NATS_PORT: 'x' }))).toHaveLength(
    1,
  );
});

it('refuses a file whose name leaves nothing for a subject', () => {
  expect(problemsOf(() => resolve('___'))[0]).toContain('set replicationID');
  expect(resolve('___?replID=x').replicationID).toBe('x');
});
