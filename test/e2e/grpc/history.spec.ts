import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { failureOf, temporaryFolder } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';
import { unpack, valuesOf } from '../../helper/grpc-client.js';
import { HARemoteDatabase } from '../../../lib/grpc/client/remote-database.js';

async function appWithHistory(): Promise<GrpcApp> {
  const dsn = `file:${join(temporaryFolder(), 'my.db')}?streamMaxAge=1h`;
  const app = await GrpcApp.start({ dsn, replicationID: 'my.db' });
  await app.db().exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  return app;
}

const rows = (app: GrpcApp): Promise<unknown[]> => app.db().all('SELECT * FROM t ORDER BY id');

describe('HISTORY and UNDO over gRPC', () => {
  it('tell and take back what a client of the .proto file alone asks for', async () => {
    const app = await appWithHistory();
    const session = app.client().session();
    const { txseq } = await session.exec(`INSERT INTO t VALUES(1, 'a'), (2, 'b')`);
    await session.exec(`UPDATE t SET v = 'c'`);
    const before = Date.now() - 60_000;
    const history = await session.query('HISTORY');
    expect(history).toMatchObject({ error: '', result_set: { columns: ['seq', 'sql', 'timestamp'] } });
    const told = (history.result_set?.rows ?? []).map(({ values }) => values.map(unpack));
    expect(told.map(([seq, sql]) => [seq, sql])).toEqual([
      [
        ['Int64Value', '1'],
        ['StringValue', expect.stringMatching(/^CREATE TABLE/)],
      ],
      [
        ['Int64Value', txseq],
        ['StringValue', expect.stringMatching(/^INSERT INTO "t"[^;]*;\nINSERT INTO "t"[^;]*;$/)],
      ],
      [
        ['Int64Value', String(Number(txseq) + 1)],
        ['StringValue', expect.stringMatching(/^UPDATE "t"/)],
      ],
    ]);
    for (const [, , [type, time] = []] of told) {
      expect(type).toBe('Timestamp');
      const { seconds, nanos } = time as { seconds: string; nanos: number };
      expect(Number(seconds) * 1_000 + nanos / 1e6).toBeGreaterThan(before);
      expect(Number(seconds) * 1_000 + nanos / 1e6).toBeLessThanOrEqual(Date.now() + 1);
    }
    const partly = await session.ask(`UNDO ${Number(txseq) + 1} WHERE t(1)`);
    expect(partly).toMatchObject({
      error: '',
      txseq: String(Number(txseq) + 2),
      result_set: { columns: ['seq', 'transactions', 'inserted', 'updated', 'deleted'] },
    });
    expect(valuesOf(partly)).toEqual([[partly.txseq, '1', '0', '1', '0']]);
    expect(await rows(app)).toEqual([
      { id: 1, v: 'a' },
      { id: 2, v: 'c' },
    ]);
    expect(await session.exec(`UNDO ${txseq}`)).toMatchObject({ error: '', rows_affected: '2', result_set: null });
    expect(await rows(app)).toEqual([]);
    // What was undone is history like everything else.
    expect(await session.exec('UNDOE 10m')).toMatchObject({ error: expect.stringMatching(/^HA_UNDO_REFUSED: /) });
  });

  it('are refused in a transaction, which goes on, and answer every mistake', async () => {
    const app = await appWithHistory();
    const session = app.client().session();
    const { txseq } = await session.exec('INSERT INTO t VALUES(1, 1)');
    await session.exec('BEGIN');
    await session.exec('UPDATE t SET v = 2');
    for (const sql of ['HISTORY', `UNDO ${txseq}`, `/* */ undot ${txseq};`]) {
      expect((await session.exec(sql)).error).toMatch(/^HA_TRANSACTION_CONTROL: .*COMMIT or ROLLBACK/);
    }
    expect(await session.exec('COMMIT')).toMatchObject({ error: '' });
    expect(await rows(app)).toEqual([{ id: 1, v: 2 }]);
    for (const call of [session.exec.bind(session), session.query.bind(session)]) {
      expect((await call('HISTORY 4711')).error).toMatch(/^HA_HISTORY_INVALID: There is no transaction 4711/);
    }
    expect((await session.exec('UNDO')).error).toMatch(/^HA_HISTORY_INVALID: .*where to begin is missing/);
    expect((await session.exec('UNDO 5 minutes')).error).toMatch(/^HA_HISTORY_INVALID: /);
    expect((await session.exec(`UNDO ${txseq}; DELETE FROM t`)).error).toMatch(/^HA_HISTORY_INVALID: /);
    expect(await rows(app)).toEqual([{ id: 1, v: 2 }]);
  });

  it('come in parts, and through a remote database with its errors', async () => {
    const app = await appWithHistory();
    for (let id = 1; id <= 5; id++) {
      await app.db().run('INSERT INTO t VALUES(?, ?)', [id, String(id).repeat(100_000)]);
    }
    const session = app.client({ version: true }).session();
    const first = await session.query('HISTORY 2');
    expect(first).toMatchObject({ more: true });
    expect(first.result_set?.rows.length).toBeLessThan(5);
    session.cancel();
    const db = new HARemoteDatabase({ url: `http://${app.target()}`, timeout: 60_000 });
    try {
      const told = await db.all<{ seq: number; sql: string; timestamp: string }>('HISTORY 2');
      expect(told.map(({ seq }) => seq)).toEqual([2, 3, 4, 5, 6]);
      expect(told.map(({ sql }) => sql.length > 100_000)).toEqual(Array(5).fill(true));
      for (const { timestamp } of told) expect(timestamp).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00:00$/);
      const seen: unknown[] = [];
      for await (const { seq } of db.iterate<{ seq: number }>('HISTORY 2')) {
        seen.push(seq);
        if (seen.length === 2) break;
      }
      expect(seen).toEqual([2, 3]);
      expect(await db.run('UNDO 6')).toMatchObject({ changes: 1, txseq: 7n });
      expect(await failureOf(db.run('UNDO 1'))).toMatchObject({ code: 'HA_UNDO_REFUSED', details: { sequence: 1 } });
      expect(await failureOf(db.transaction((tx) => tx.run('UNDO 5')))).toMatchObject({
        code: 'HA_TRANSACTION_CONTROL',
      });
      await app.db().run('UPDATE t SET v = 0 WHERE id = 4');
      expect(await failureOf(db.run('UNDO 5 WHERE nothing(1)'))).toMatchObject({ details: { table: 'nothing' } });
      expect(await db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 4 });
    } finally {
      await db.close();
    }
  });

  it('are commands of the shell', async () => {
    if (!existsSync('dist/cli/main.js')) throw new Error('dist is missing: run npm run build first.');
    const app = await appWithHistory();
    await app.db().run(`INSERT INTO t VALUES(1, 'a;b')`);
    const out = await new Promise<string>((resolve, reject) => {
      const url = `http://${app.target()}`;
      const script = `HISTORY 2; UNDO 2 WHERE t(1); SELECT count(*) AS n FROM t`;
      const args = ['dist/cli/main.js', 'cli', url, '--csv', '-c', script];
      execFile(process.execPath, args, (error, text) => (error === null ? resolve(text) : reject(error)));
    });
    const [columns, insert, ...others] = out.trimEnd().split('\r\n');
    expect(columns).toBe('seq,sql,timestamp');
    expect(insert).toMatch(/^2,"INSERT INTO ""t""\(""id"", ""v""\) VALUES\(1, 'a;b'\);",\d{4}-/);
    expect(others).toEqual(['seq,transactions,inserted,updated,deleted', '3,1,0,0,1', 'n', '0']);
  });
});
