import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { HADatabase } from '../lib/write/ha-database.js';
import { HARuntime } from '../lib/ha-runtime.js';
import { resolveOptions } from '../lib/config/resolve.js';
import { HAGrpcServer } from '../lib/grpc/server/grpc-server.js';
import { CREATE_PEOPLE } from './measure.js';
import { ECHO } from './grpc.js';

/** A process with a database and its gRPC server, and an echo beside it; tells the ports. */
const [file = '', url = ''] = process.argv.slice(2);
const options = resolveOptions(`file:${file}`, { name: 'grpc', replicationID: 'grpc.db', replicationURL: url }, {});
const runtime = new HARuntime(options, { logger: new Logger('bench'), retryAttempts: 0, retryDelay: 0 });
const database = new HADatabase(runtime);
await database.start();
await database.exec(CREATE_PEOPLE);
const server = new HAGrpcServer({ host: '127.0.0.1', port: 0, token: undefined }, new Logger('bench'));
server.databases.add({ replicationID: 'bench', dsn: file, path: () => file, database, timeout: 30_000 });
await server.start();

const echo = new Server();
echo.addService(
  { Echo: ECHO },
  {
    Echo: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (bytes: Buffer) => void call.write(bytes));
      call.on('end', () => call.end());
    },
  },
);
const port = await new Promise<number>((resolve, reject) => {
  echo.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, taken) =>
    error === null ? resolve(taken) : reject(error),
  );
});
process.send?.({ database: server.port, echo: port });
process.once('disconnect', () => {
  echo.forceShutdown();
  void server.close().then(() => database.close());
});
