import 'reflect-metadata';
import { Logger, ValidationPipe } from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { RetryableFilter } from './library/retryable.filter.js';
import { port } from './node.js';

const app = await NestFactory.create(AppModule);
app.useGlobalPipes(new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true }));
app.useGlobalFilters(new RetryableFilter(app.get(HttpAdapterHost).httpAdapter));
app.enableShutdownHooks();
await app.listen(port, '127.0.0.1');
new Logger('Library').log(`Listening on ${await app.getUrl()}`);
