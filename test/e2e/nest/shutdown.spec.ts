import { existsSync } from 'node:fs';
import { SampleApp } from '../../support/sample-app.js';
import { onCleanup, startCluster, temporaryFolder, until } from '../../helper/cluster.js';

const CLIENTS = 24;
/** Answers before the signal: it has to come in the middle of the load. */
const WARM_UP = 200;

it('SIGTERM under load loses nothing: what was answered with 201 is in the stream', async () => {
  const cluster = await startCluster({ nodes: 1 });
  const path = `${temporaryFolder()}/app.db`;
  const app = await SampleApp.start(
    `file:${path}?name=app&replicationID=db&replicationStream=${cluster.stream}&replicationURL=${cluster.url}`,
  );
  onCleanup(async () => {
    await app.stop('SIGKILL');
  });
  const answered: string[] = [];
  const refused: unknown[] = [];
  let stopping = false;

  /** Writes until the application is gone. */
  async function client(index: number): Promise<void> {
    for (let n = 0; ; n++) {
      const title = `${index}-${n}`;
      try {
        const { status, body } = await app.request('POST', '/notes', { title });
        if (status === 201) answered.push(title);
        else refused.push({ status, body });
      } catch (error) {
        if (!stopping) throw error;
        return;
      }
    }
  }

  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(index)));
  await until(() => answered.length >= WARM_UP);
  stopping = true;
  expect(await app.stop('SIGTERM')).toBe('SIGTERM');
  await clients;

  expect(refused).toEqual([]);
  await cluster.settle();
  const stored = new Set(await cluster.a.prepare('SELECT title FROM note').pluck().all());
  expect(answered.filter((title) => !stored.has(title))).toEqual([]);
  // The last connection removes the WAL: the file was closed in good order.
  expect(existsSync(`${path}-wal`)).toBe(false);
});
