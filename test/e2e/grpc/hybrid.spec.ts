import { jest } from '@jest/globals';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Injectable, Logger, Module } from '@nestjs/common';
import type { CanActivate, ExecutionContext, INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HAGrpcModule, haGrpcOptions } from '../../../lib/ha-grpc.js';
import { HAModule } from '../../../lib/ha.module.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { DatabaseService } from '../../../lib/grpc/server/database-service.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, until } from '../../helper/cluster.js';
import { ProtoClient } from '../../helper/grpc-client.js';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function hybrid(guard: CanActivate, host = '127.0.0.1'): Promise<{ app: INestApplication; client: ProtoClient }> {
  const port = await freePort();
  @Module({
    imports: [HAModule.forRoot({ dsn: ':memory:', replicationID: 'my.db', grpcPort: port }), HAGrpcModule.forRoot()],
  })
  class AppModule {}
  const app = await NestFactory.create(AppModule, { logger: ['error'], abortOnError: false });
  onCleanup(() => app.close());
  app.useGlobalGuards(guard);
  app.connectMicroservice(haGrpcOptions(app, { host, port }), { inheritAppConfig: true });
  await app.startAllMicroservices();
  await app.init();
  const client = new ProtoClient(`127.0.0.1:${port}`);
  onCleanup(() => client.close());
  return { app, client };
}

@Injectable()
class Refusing implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

/** Lets calls through when it is told to, and keeps them. */
@Injectable()
class Waiting implements CanActivate {
  readonly calls: { cancelled: boolean }[] = [];
  open: () => void = () => undefined;
  private readonly opened = new Promise<void>((resolve) => (this.open = resolve));

  async canActivate(context: ExecutionContext): Promise<boolean> {
    this.calls.push(context.getArgByIndex(0));
    await this.opened;
    return true;
  }
}

describe('a gRPC server in an application of its own', () => {
  it('refuses what a global guard refuses, and goes on', async () => {
    const { app, client } = await hybrid(new Refusing());
    const denied = { code: 7, details: 'Forbidden resource' };
    for (let round = 0; round < 3; round++) {
      expect(await failureOf(client.session().ask('SELECT 1'))).toMatchObject(denied);
      expect(await failureOf(client.unary('ReplicationIDs'))).toMatchObject(denied);
      expect(await failureOf(client.bytes('Download', 'my.db'))).toMatchObject(denied);
    }
    expect(app.get(DatabaseService).streams.size).toBe(0);
  });

  it('begins nothing for a call that was broken off while a guard thought about it', async () => {
    const guard = new Waiting();
    const { app, client } = await hybrid(guard);
    const sessions = [client.session(), client.session()];
    for (const session of sessions) {
      session.stream.on('error', () => undefined);
      session.send('BEGIN');
    }
    const download = client.open('Download', 'my.db').on('error', () => undefined);
    await until(() => guard.calls.length === 3);
    for (const session of sessions) session.cancel();
    download.cancel();
    await until(() => guard.calls.filter(({ cancelled }) => cancelled).length === 2);
    guard.open();
    const other = client.session();
    expect((await other.exec('CREATE TABLE t(id)')).error).toBe('');
    await until(() => app.get(DatabaseService).streams.size === 1);
    await app.get<HADatabase>(getHAToken()).run('INSERT INTO t VALUES(1)');
    expect(app.get<HADatabase>(getHAToken()).status().waitingWrites).toBe(0);
  });

  it('warns where everybody may come in', async () => {
    const warned: string[] = [];
    const spy = jest.spyOn(Logger.prototype, 'warn').mockImplementation((text: string) => void warned.push(text));
    onCleanup(() => spy.mockRestore());
    await hybrid(new Refusing(), '0.0.0.0');
    expect(warned.filter((text) => text.startsWith('Everybody who reaches 0.0.0.0:'))).toHaveLength(1);
  });
});
