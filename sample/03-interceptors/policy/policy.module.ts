import { Module } from '@nestjs/common';
import { SalesPolicy } from './sales-policy.js';

@Module({ providers: [SalesPolicy], exports: [SalesPolicy] })
export class PolicyModule {}
