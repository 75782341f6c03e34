import { until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';
import { pack, unpackRows, valuesOf } from '../../helper/grpc-client.js';

it('answers a session of a client made of the .proto file alone', async () => {
  const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'my.db' });
  const session = app.client().session();
  expect(await session.ask('', [], 'QUERY_TYPE_PING')).toMatchObject({ result_set: null, error: '', txseq: '0' });
  expect(await session.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)')).toMatchObject({
    error: '',
    result_set: null,
  });
  expect(await session.exec('INSERT INTO t VALUES(1, ?)', [pack('StringValue', { value: 'a' })])).toMatchObject({
    rows_affected: '1',
    last_insert_id: '1',
    error: '',
  });
  expect(unpackRows(await session.query('SELECT * FROM t'))).toEqual([
    [
      ['Int64Value', '1'],
      ['StringValue', 'a'],
    ],
  ]);
  await session.end();
  await until(() => app.server().sessions === 0);
  expect(valuesOf(await app.client().session().query('SELECT count(*) FROM t'))).toEqual([['1']]);
});
