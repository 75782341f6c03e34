import 'reflect-metadata';
import { Logger, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { port } from './node.js';
import { RetryableFilter } from './retryable.filter.js';

const app = await NestFactory.create(AppModule);
app.useGlobalPipes(new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true }));
app.useGlobalFilters(new RetryableFilter());
// On SIGTERM the leader hands over before it stops.
app.enableShutdownHooks();
await app.listen(port, '127.0.0.1');
new Logger('Orders').log(`Listening on ${await app.getUrl()}`);
