import 'reflect-metadata';
import { Logger, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { UnavailableFilter } from './unavailable.filter.js';

const app = await NestFactory.create(AppModule);
app.useGlobalPipes(new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true, transform: true }));
app.useGlobalFilters(new UnavailableFilter());
// On SIGTERM and Ctrl-C: waiting writes finish, the database closes, the NATS server beside the application stops.
app.enableShutdownHooks();
await app.listen(process.env.PORT ?? 3000, '127.0.0.1');
new Logger('Notes').log(`Listening on ${await app.getUrl()}`);
