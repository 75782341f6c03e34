import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService } from '@nestjs/terminus';
import type { HealthCheckResult } from '@nestjs/terminus';
import { HAHealthIndicator } from 'nestjs-ha/terminus';

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly ha: HAHealthIndicator,
  ) {}

  /** For a load balancer: whether this node should get requests. Rows that are half a minute old are good enough here. */
  @Get('ready')
  @HealthCheck()
  ready(): Promise<HealthCheckResult> {
    return this.health.check([() => this.ha.isHealthy('orders', { maxLag: '30s' })]);
  }

  /** For nodes that have to write: without the stream they cannot. */
  @Get('writable')
  @HealthCheck()
  writable(): Promise<HealthCheckResult> {
    return this.health.check([() => this.ha.isHealthy('orders', { maxLag: '30s', requireConnected: true })]);
  }
}
