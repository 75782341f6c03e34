import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { HAHealthModule } from 'nestjs-ha/terminus';
import { HealthController } from './health.controller.js';

@Module({ imports: [TerminusModule, HAHealthModule], controllers: [HealthController] })
export class HealthModule {}
