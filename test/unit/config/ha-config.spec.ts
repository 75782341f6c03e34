import { ConfigModule } from '@nestjs/config';
import { Test } from '@nestjs/testing';
import { createHAConfig, haConfig, haSchema } from '../../../lib/ha-config.js';
import { HAModule } from '../../../lib/ha.module.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { getHAToken, partToken } from '../../../lib/common/tokens.js';
import type { HARuntime } from '../../../lib/ha-runtime.js';
import { failureOf } from '../../helper/cluster.js';
import { problemsOf } from './helper.js';

const saved = { ...process.env };

afterEach(() => {
  for (const name of Object.keys(process.env)) if (!(name in saved)) delete process.env[name];
});

const setAll = (values: Record<string, string>): void => void Object.assign(process.env, values);

it('gives the options of the environment to HAModule.forRootAsync', async () => {
  setAll({ HA_DSN: 'file::memory:?name=a&clusterSize=3', HA_NAME: 'b', HA_TRANSACTION_TIMEOUT: '1m30s' });
  const app = await Test.createTestingModule({
    imports: [
      ConfigModule.forRoot({ ignoreEnvFile: true, validationSchema: haSchema }),
      HAModule.forRootAsync(haConfig.asProvider()),
    ],
  }).compile();
  await app.init();
  const { options } = app.get<HARuntime>(partToken('runtime'), { strict: false });
  // As without @nestjs/config, the DSN goes before the variables.
  expect(options).toMatchObject({ name: 'a', clusterSize: 3, transactionTimeout: 90_000, memory: true });
  const db = app.get<HADatabase>(getHAToken());
  expect(await db.get('SELECT 1 AS one')).toEqual({ one: 1 });
  await app.close();
});

it('reads several databases, each behind a prefix of its own', () => {
  setAll({ ORDERS_HA_DSN: 'orders.db', ORDERS_HA_NATS_PORT: '4333', ORDERS_HA_AUTO_START: 'F', HA_DSN: 'other.db' });
  const config = createHAConfig({ key: 'orders', prefix: 'ORDERS_HA_' });
  expect(config()).toEqual({ dsn: 'orders.db', natsPort: 4333, autoStart: false });
  setAll({ ORDERS_HA_ROW_IDENTIFY: 'pk', ORDERS_HA_ROW_IDENTIDY: 'full' });
  expect(problemsOf(() => config())).toEqual([
    expect.stringContaining('ORDERS_HA_ROW_IDENTIFY and ORDERS_HA_ROW_IDENTIDY'),
  ]);
});

it('leaves mistakes to the module, which lists them all', async () => {
  setAll({ HA_NATS_PORT: 'x', HA_REPLICAS: '9', HA_ROW_IDENTIFY: 'pk', HA_ROW_IDENTIDY: 'full' });
  const error = await failureOf(
    Test.createTestingModule({
      imports: [ConfigModule.forRoot({ ignoreEnvFile: true }), HAModule.forRootAsync(haConfig.asProvider())],
    }).compile(),
  );
  const problems = problemsOf(() => {
    throw error;
  });
  expect(problems).toHaveLength(4);
  expect(problems.join('\n')).toMatch(/dsn: it is missing[^]*ROW_IDENTI[^]*natsPort[^]*replicas/);
});

describe('the schema', () => {
  const validate = haSchema['~standard'].validate;

  it('lets a good environment pass unchanged', () => {
    const env = { HA_DSN: 'file:a.db?natsPort=0', HA_REPLICAS: '3', HA_NAME: undefined, PATH: '/bin', PORT: 3000 };
    expect(validate(env)).toEqual({ value: env });
  });

  it('names each wrong variable and what is allowed', () => {
    const result = validate({
      HA_DSN: 'http://x?nmae=1&natsPort=y&replicationURL=http://u:hunter2@h',
      HA_REPLICAS: '9',
      HA_DISABLE_SNAPSHOTTER: 'on',
      HA_NATS_CONFIG_NAME: 'a',
      HA_NATS_CONFIG_FILE: 'b',
      HA_REPLICATION_URL: 'http://u:hunter2@h',
    });
    const lines = (result.issues ?? []).map(({ path, message }) => `${path.join('.')}: ${message}`);
    expect(lines).toHaveLength(8);
    expect(lines.filter((line) => line.startsWith('HA_DSN: '))).toHaveLength(4);
    expect(lines).toContainEqual(
      expect.stringMatching(/^HA_REPLICAS: "9" is out of range; allowed: an integer from 1 to 5/),
    );
    expect(lines).toContainEqual(
      expect.stringMatching(/^HA_DISABLE_SNAPSHOTTER: "on" is not a boolean; allowed: 1, t/),
    );
    expect(lines).toContainEqual(expect.stringMatching(/^HA_NATS_CONFIG_NAME: it and HA_NATS_CONFIG_FILE/));
    expect(lines.join('\n')).not.toContain('hunter2');
    expect(validate('x').issues).toHaveLength(1);
  });

  it('ends the start of an application through @nestjs/config', async () => {
    setAll({ HA_REPLICAS: '9' });
    await expect(ConfigModule.forRoot({ ignoreEnvFile: true, validationSchema: haSchema })).rejects.toThrow(
      /HA_REPLICAS: "9" is out of range/,
    );
  });
});
