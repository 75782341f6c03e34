import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, SampleApp } from '../support/sample-app.js';

let root: string;
let natsPort: number;
let first: SampleApp;
let second: SampleApp;

const startFirst = (): Promise<SampleApp> =>
  SampleApp.start(
    `file:${root}/1.db?name=n1&replicationID=notes&natsPort=${natsPort}&natsStoreDir=${encodeURIComponent(join(root, 'nats'))}`,
  );

const startSecond = (): Promise<SampleApp> =>
  SampleApp.start(`file:${root}/2.db?name=n2&replicationID=notes&replicationURL=nats://127.0.0.1:${natsPort}`);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'sample-basic-'));
  natsPort = await freePort();
  first = await startFirst();
  second = await startSecond();
}, 300_000);

afterAll(async () => {
  await second?.stop();
  await first?.stop();
  await rm(root, { recursive: true, force: true });
});

/** Asks until the answer is the expected one: the other node applies in its own time. */
async function eventually(app: SampleApp, path: string, expected: { status: number; body: unknown }): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const answer = await app.request('GET', path);
    try {
      expect(answer).toEqual(expected);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(20);
    }
  }
}

/** Posts a note and returns it as the server answered. */
async function post(app: SampleApp, title: string, body?: string): Promise<{ id: number }> {
  const answer = await app.request('POST', '/notes', { title, body });
  expect(answer).toMatchObject({ status: 201, body: { id: expect.any(Number), title, body: body ?? '' } });
  return answer.body as { id: number };
}

it('shows on the other node what was posted on one', async () => {
  const note = await post(first, 'Milk', 'two litres');
  await eventually(second, `/notes/${note.id}`, { status: 200, body: note });
  const other = await post(second, 'Bread');
  await eventually(first, `/notes/${other.id}`, { status: 200, body: other });
});

it('gives notes posted on both nodes at once ids of their own', async () => {
  const titles = Array.from({ length: 20 }, (_, index) => `at once ${index}`);
  const notes = await Promise.all(titles.map((title, index) => post(index % 2 === 0 ? first : second, title)));
  expect(new Set(notes.map(({ id }) => id)).size).toBe(titles.length);
  for (const note of notes) {
    await eventually(first, `/notes/${note.id}`, { status: 200, body: note });
    await eventually(second, `/notes/${note.id}`, { status: 200, body: note });
  }
});

it.each([
  ['an empty title', { title: '' }, 'title should not be empty'],
  ['no title', { body: 'x' }, 'title must be a string'],
  ['a title that is too long', { title: 'x'.repeat(101) }, 'title must be shorter than or equal to 100 characters'],
  ['a body that is no text', { title: 'x', body: 1 }, 'body must be a string'],
  ['an unknown property', { title: 'x', colour: 'red' }, 'property colour should not exist'],
])('answers 400 to %s, and writes nothing', async (_what, body, message) => {
  const before = await first.request('GET', '/notes');
  const answer = await first.request('POST', '/notes', body);
  expect(answer).toMatchObject({ status: 400, body: { message: expect.arrayContaining([message]) } });
  expect(await first.request('GET', '/notes')).toEqual(before);
});

it('answers 404 to a note that does not exist, and 400 to an id that is no number', async () => {
  for (const method of ['GET', 'PUT', 'DELETE']) {
    expect(await second.request(method, '/notes/999999', method === 'GET' ? undefined : { title: 'x' })).toMatchObject({
      status: 404,
    });
    expect(await second.request(method, '/notes/none', method === 'GET' ? undefined : { title: 'x' })).toMatchObject({
      status: 400,
    });
  }
});

it('replicates PUT and DELETE', async () => {
  const note = await post(first, 'Milk', 'two litres');
  await eventually(second, `/notes/${note.id}`, { status: 200, body: note });

  const changed = { ...note, title: 'Oat milk', body: '' };
  expect(await second.request('PUT', `/notes/${note.id}`, { title: 'Oat milk' })).toEqual({
    status: 200,
    body: changed,
  });
  await eventually(first, `/notes/${note.id}`, { status: 200, body: changed });

  expect(await first.request('DELETE', `/notes/${note.id}`)).toEqual({ status: 204, body: undefined });
  await eventually(second, `/notes/${note.id}`, {
    status: 404,
    body: expect.objectContaining({ message: `There is no note ${note.id}.` }),
  });
});

it.each(['SIGTERM', 'SIGKILL'] as const)('goes on where it stopped after %s', async (signal) => {
  const before = await post(second, `before ${signal}`);
  expect(await second.stop(signal)).toBe(signal);
  const meanwhile = await post(first, `meanwhile ${signal}`);
  second = await startSecond();
  // It listens only when it holds what the stream held: no waiting here.
  expect(await second.request('GET', `/notes/${before.id}`)).toEqual({ status: 200, body: before });
  expect(await second.request('GET', `/notes/${meanwhile.id}`)).toEqual({ status: 200, body: meanwhile });
  const after = await post(second, `after ${signal}`);
  await eventually(first, `/notes/${after.id}`, { status: 200, body: after });
});

it('goes on when the node that runs the NATS server is restarted', async () => {
  await first.stop();
  expect(await second.request('GET', '/notes')).toMatchObject({ status: 200 });
  const waiting = post(second, 'written while there was no server');
  await sleep(300);
  first = await startFirst();
  const note = await waiting;
  await eventually(first, `/notes/${note.id}`, { status: 200, body: note });
});
