import { Injectable, Module } from '@nestjs/common';
import type { OnApplicationShutdown, OnModuleInit } from '@nestjs/common';
import { HARegistry } from '../ha-registry.js';
import { HASharedModule } from '../ha-shared.module.js';
import { DatabaseMeter } from './database-meter.js';
import { Instruments } from './instruments.js';

// The entry point `nestjs-ha/metrics`.

/** Measures all databases of the application, from before they start until it has shut down. */
@Injectable()
export class HAMetrics implements OnModuleInit, OnApplicationShutdown {
  private instruments: Instruments | undefined;

  constructor(private readonly registry: HARegistry) {}

  onModuleInit(): void {
    // Not earlier: instruments made before the SDK is registered stay without effect for ever.
    const instruments = new Instruments();
    this.instruments = instruments;
    const meters = this.registry.connections.flatMap((connection) => {
      const runtime = this.registry.get(connection);
      return runtime === undefined ? [] : [new DatabaseMeter(connection, runtime, instruments)];
    });
    instruments.observe(async (observe) => {
      await Promise.all(meters.map((meter) => meter.observe(observe)));
    });
  }

  onApplicationShutdown(): void {
    this.instruments?.close();
  }
}

/**
 * Metrics of all databases of the application through the OpenTelemetry API. Register an SDK before the application is
 * made; without one nothing is measured.
 *
 * @example
 * imports: [HAModule.forRoot(dsn), HAMetricsModule]
 */
@Module({ imports: [HASharedModule], providers: [HAMetrics] })
export class HAMetricsModule {}
