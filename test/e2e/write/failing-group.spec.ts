import { jest } from '@jest/globals';
import BetterSqlite3 from 'better-sqlite3';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { TransactionControl } from '../../../lib/sqlite/transaction-control.js';
import { failureOf, temporaryFolder } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';

const BROKEN = new BetterSqlite3.SqliteError('disk I/O error', 'SQLITE_IOERR_WRITE');

afterEach(() => jest.restoreAllMocks());

it('what was sent is answered by the stream where SQLite fails in the middle of the group', async () => {
  const { db, runtime } = memoryNode(
    'a',
    temporaryFolder(),
    new MemoryStream({ broker: new MemoryBroker(), ...MEMORY_STREAM }),
  );
  await db.start();
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)');
  // The second write of the group fails, and then that cannot be undone.
  jest.spyOn(TransactionControl.prototype, 'undoSavepoint').mockImplementationOnce(() => {
    throw BROKEN;
  });
  const first = db.run("INSERT INTO t VALUES(1, 'sent')");
  const second = failureOf(db.run('INSERT INTO t VALUES(2, (SELECT v FROM t))'));
  const third = db.run("INSERT INTO t VALUES(3, 'behind')");
  expect(await first).toMatchObject({ changes: 1, txseq: expect.any(BigInt) as bigint });
  expect(await second).toBe(BROKEN);
  expect(await third).toMatchObject({ changes: 1 });
  expect(runtime.open?.connections.reader.prepare('SELECT * FROM t ORDER BY id').raw().all()).toEqual([
    [1, 'sent'],
    [3, 'behind'],
  ]);
  expect(db.status().state).toBe('running');
});
