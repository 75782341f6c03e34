import { Logger } from '@nestjs/common';
import { HARemoteDatabase } from '../../../lib/grpc/client/remote-database.js';
import { HAGrpcServer } from '../../../lib/grpc/server/grpc-server.js';
import { failureOf, onCleanup, until } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';
import { ProtoClient } from '../../helper/grpc-client.js';
import { NatsProxy } from '../../helper/nats-proxy.js';

async function proxyOf(target: string): Promise<{ proxy: NatsProxy; address: string }> {
  const proxy = await NatsProxy.start(`tcp://${target}`);
  onCleanup(() => proxy.close());
  return { proxy, address: new URL(proxy.url).host };
}

function remoteAt(address: string): HARemoteDatabase {
  const remote = new HARemoteDatabase({ url: `http://${address}`, timeout: 3_000, keepalive: 1_000 });
  onCleanup(() => remote.close());
  return remote;
}

describe('a connection that has gone silent', () => {
  it('is given up for another by the client, and holds up no other client', async () => {
    const app = await GrpcApp.start({ dsn: ':memory:' });
    const { proxy, address } = await proxyOf(app.target());
    const remote = remoteAt(address);
    expect(await remote.get('SELECT 1 AS one')).toEqual({ one: 1 });
    proxy.silence();
    expect((await failureOf(remote.get('SELECT 1 AS one'))).code).toMatch(/^HA_(UNAVAILABLE|REMOTE_TIMEOUT)$/);
    expect(await remoteAt(address).get('SELECT 2 AS two')).toEqual({ two: 2 });
    await until(() =>
      remote.get('SELECT 3 AS three').then(
        () => true,
        () => false,
      ),
    );
  });

  it('is given up by the server, with what was open in it', async () => {
    const settings = { host: '127.0.0.1', port: 0, token: undefined, keepalive: 1_000 };
    const server = new HAGrpcServer(settings, new Logger());
    await server.start();
    onCleanup(() => server.close());
    const { proxy, address } = await proxyOf(`127.0.0.1:${server.port}`);
    const client = new ProtoClient(address);
    onCleanup(() => client.close());
    const session = client.session();
    session.stream.on('error', () => undefined);
    await session.ask('', [], 'QUERY_TYPE_PING');
    expect(server.sessions).toBe(1);
    proxy.silence();
    await until(() => server.sessions === 0);
  });
});
