import { DatabaseController } from '../../../lib/grpc/server/database.controller.js';
import type { DatabaseService } from '../../../lib/grpc/server/database-service.js';
import { GrpcApp } from '../../helper/grpc-app.js';
import { pack, valuesOf } from '../../helper/grpc-client.js';

async function appWithTable(options: object = {}): Promise<GrpcApp> {
  const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'my.db', transactionTimeout: 60_000, ...options });
  await app.db().exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  return app;
}

describe('statements behind one that steers the transaction', () => {
  it('are refused, never dropped', async () => {
    const app = await appWithTable();
    const session = app.client({ version: true }).session();
    const refused = { error_code: 'HA_TRANSACTION_CONTROL' };
    expect(await session.ask('BEGIN TRANSACTION; INSERT INTO t VALUES(1, 1)')).toMatchObject(refused);
    expect(await session.query('BEGIN TRANSACTION; INSERT INTO t VALUES(1, 1); COMMIT')).toMatchObject(refused);
    const one = pack('Int64Value', { value: '1' });
    expect((await session.exec('BEGIN TRANSACTION; INSERT INTO t VALUES(5, ?); COMMIT', [one])).error).not.toBe('');
    // Nothing was begun.
    await app.db().run('INSERT INTO t VALUES(9, 9)');
    expect((await session.ask('BEGIN')).error).toBe('');
    expect((await session.ask('INSERT INTO t VALUES(2, 2)')).error).toBe('');
    for (const end of ['COMMIT', 'END', 'ROLLBACK']) {
      expect(await session.ask(`${end} TRANSACTION; INSERT INTO t VALUES(3, 3)`)).toMatchObject(refused);
    }
    // It is still open.
    expect(valuesOf(await session.ask('SELECT id FROM t ORDER BY id'))).toEqual([['2'], ['9']]);
    expect((await session.ask('COMMIT')).error).toBe('');
    expect(await app.db().all('SELECT id FROM t ORDER BY id')).toEqual([{ id: 2 }, { id: 9 }]);
  });

  it('run one after another as a script', async () => {
    const app = await appWithTable();
    const session = app.client().session();
    expect(await session.exec('BEGIN TRANSACTION; INSERT INTO t VALUES(1, 1); END TRANSACTION')).toMatchObject({
      error: '',
    });
    expect(await app.db().all('SELECT id FROM t')).toEqual([{ id: 1 }]);
  });
});

describe('a stream that is broken off before it is served', () => {
  it('copies nothing', async () => {
    let asked = 0;
    const service = { denied: () => undefined, download: () => void asked++, latestSnapshot: () => void asked++ };
    const controller = new DatabaseController(service as unknown as DatabaseService);
    const call = { cancelled: true, once: () => undefined, write: () => true };
    for (const method of ['download', 'latestSnapshot'] as const) {
      const rows = controller[method]({ replication_id: '' }, {} as never, call as never);
      await new Promise<void>((resolve, reject) => rows.subscribe({ complete: resolve, error: reject }));
    }
    expect(asked).toBe(0);
  });
});
