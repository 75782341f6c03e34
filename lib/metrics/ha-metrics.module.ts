import { Inject, Injectable, Module } from '@nestjs/common';
import type { OnApplicationShutdown } from '@nestjs/common';
import { HARegistry } from '../ha-registry.js';
import { HASharedModule } from '../ha-shared.module.js';
import { DatabaseMeter } from './database-meter.js';
import { Instruments } from './instruments.js';

// The entry point `nestjs-ha/metrics`.

/** Measures all databases of the application, from before they start until it has shut down. */
@Injectable()
export class HAMetrics implements OnApplicationShutdown {
  // Not when this file is loaded: instruments made before the SDK is registered stay without effect for ever.
  private readonly instruments = new Instruments();
  private readonly meters: DatabaseMeter[] = [];

  constructor(@Inject(HARegistry) registry: HARegistry) {
    registry.each((connection, runtime) => this.meters.push(new DatabaseMeter(connection, runtime, this.instruments)));
    this.instruments.observe(async (observe) => {
      await Promise.all(this.meters.map((meter) => meter.observe(observe)));
    });
  }

  onApplicationShutdown(): void {
    this.instruments.close();
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
