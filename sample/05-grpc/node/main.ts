import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { haGrpcOptions } from 'nestjs-ha/grpc';
import { AppModule } from './app.module.js';

// One application for both: HTTP for its own users, gRPC for programs in any language.
const app = await NestFactory.create(AppModule);
const grpc = haGrpcOptions(app);
app.connectMicroservice(grpc);
app.enableShutdownHooks();
await app.startAllMicroservices();
await app.listen(process.env.PORT ?? 3000, '127.0.0.1');
new Logger('Stock').log(`gRPC port ${grpc.strategy.port}. Listening on ${await app.getUrl()}`);
