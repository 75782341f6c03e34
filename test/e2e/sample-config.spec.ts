import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, SampleApp } from '../support/sample-app.js';

let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sample-config-'));
});

afterAll(() => rm(root, { recursive: true, force: true }));

/** Settings as those of the sample, with files and port of this test. */
async function settings(lines: Record<string, string>): Promise<string> {
  const path = join(root, 'settings.env');
  await writeFile(
    path,
    Object.entries(lines)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  return path;
}

/** Variables of the process would go before those of the file. */
const startWith = (path: string): Promise<SampleApp> => SampleApp.start(undefined, '02-config', { SETTINGS: path });

it('keeps users and their history in two databases, both configured by a file of variables', async () => {
  const path = await settings({
    HA_DSN: `file:${root}/users.db?replicationID=users`,
    HA_NAME: 'node1',
    HA_NATS_PORT: String(await freePort()),
    HA_NATS_STORE_DIR: join(root, 'nats'),
    AUDIT_HA_DSN: `file:${root}/audit.db?replicationID=audit`,
  });
  const app = await startWith(path);
  try {
    expect(await app.request('POST', '/users', { name: 'Ada' })).toEqual({ status: 201, body: { id: 1, name: 'Ada' } });
    expect(await app.request('GET', '/users')).toMatchObject({ body: [{ id: 1, name: 'Ada' }] });
    expect(await app.request('GET', '/users/history')).toMatchObject({ body: [{ what: 'user 1 was created' }] });
  } finally {
    expect(await app.stop()).toBe('SIGTERM');
  }
}, 120_000);

it('does not start with a variable that is wrong, and names it', async () => {
  const path = await settings({ HA_DSN: `file:${root}/x.db`, HA_REPLICAS: 'many' });
  await expect(startWith(path)).rejects.toThrow(
    /HA_REPLICAS: "many" is not an integer; allowed: an integer from 1 to 5/,
  );
});
