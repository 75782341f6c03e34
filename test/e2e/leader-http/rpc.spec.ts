import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { Controller, UseGuards } from '@nestjs/common';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { ClientProxyFactory, GrpcMethod, MessagePattern, Transport } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { firstValueFrom } from 'rxjs';
import { partToken } from '../../../lib/common/tokens.js';
import { LeaderGuard } from '../../../lib/leader/leader-guard.js';
import { ReadOnly } from '../../../lib/leader/write-methods.js';
import { HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { onCleanup, temporaryFolder } from '../../helper/cluster.js';
import { FakeLeader } from './fake-leader.js';

@Controller()
@UseGuards(LeaderGuard)
class StockController {
  @MessagePattern('take')
  take() {
    return 'taken';
  }

  @MessagePattern('count')
  @ReadOnly()
  count() {
    return 3;
  }

  @GrpcMethod('Stock', 'Take')
  takeRemotely() {
    return { text: 'taken' };
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function startMicroservice(leader: FakeLeader, options: MicroserviceOptions): Promise<void> {
  const builder = Test.createTestingModule({ imports: [HATestingModule.forRoot()], controllers: [StockController] });
  const module = await builder.overrideProvider(partToken('leader')).useValue(leader).compile();
  const app = module.createNestMicroservice<MicroserviceOptions>({ ...options, logger: false });
  onCleanup(() => app.close());
  await app.listen();
}

const TARGET = { text: 'http://leader.test,leader.test:5001', http: 'http://leader.test', grpc: 'leader.test:5001' };

it('refuses messages that write with the leader’s target, over TCP', async () => {
  const leader = new FakeLeader({ isLeader: false, target: TARGET });
  const at = { transport: Transport.TCP as const, options: { host: '127.0.0.1', port: await freePort() } };
  await startMicroservice(leader, at);
  const client = ClientProxyFactory.create(at);
  onCleanup(() => client.close());
  await expect(firstValueFrom(client.send('take', {}))).rejects.toMatchObject({
    status: 'error',
    code: 'HA_NOT_LEADER',
    message: expect.stringContaining(TARGET.text),
    retryable: true,
    target: TARGET,
  });
  expect(await firstValueFrom(client.send('count', {}))).toBe(3);
  leader.changes.next({ isLeader: false });
  await expect(firstValueFrom(client.send('take', {}))).rejects.toMatchObject({
    code: 'HA_NOT_LEADER',
    message: expect.stringContaining('No leader is known'),
  });
  leader.changes.next({ isLeader: true });
  expect(await firstValueFrom(client.send('take', {}))).toBe('taken');
});

it('refuses them over gRPC with a status and the target in the metadata', async () => {
  const leader = new FakeLeader({ isLeader: false, target: TARGET });
  const protoPath = join(temporaryFolder(), 'stock.proto');
  writeFileSync(
    protoPath,
    'syntax = "proto3"; package stock; message Text { string text = 1; } service Stock { rpc Take (Text) returns (Text); }',
  );
  const url = `127.0.0.1:${await freePort()}`;
  await startMicroservice(leader, { transport: Transport.GRPC, options: { package: 'stock', protoPath, url } });
  type Client = {
    Take(text: object, done: (error: ServiceError | null, answer?: unknown) => void): void;
    close(): void;
  };
  const packages = loadPackageDefinition(loadSync(protoPath)) as unknown as {
    stock: { Stock: new (url: string, credentials: unknown) => Client };
  };
  const client = new packages.stock.Stock(url, credentials.createInsecure());
  onCleanup(() => client.close());
  const take = () => new Promise((resolve, reject) => client.Take({}, (e, a) => (e === null ? resolve(a) : reject(e))));
  const error = (await take().catch((reason: unknown) => reason)) as ServiceError;
  expect(error).toMatchObject({ code: 9, details: expect.stringContaining('HA_NOT_LEADER') });
  expect(error.metadata.get('ha-leader')).toEqual([TARGET.text]);
  leader.changes.next({ isLeader: true });
  expect(await take()).toEqual({ text: 'taken' });
});
