import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { HAMetricsModule } from 'nestjs-ha/metrics';
import { HealthModule } from './health/health.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { OrdersModule } from './orders/orders.module.js';

const DEFAULT_DSN = 'file:orders1.db?name=node1&replicationID=orders&natsPort=4222&natsStoreDir=nats-data';

@Module({
  imports: [
    HAModule.forRoot(process.env.HA_DSN ?? DEFAULT_DSN),
    MetricsModule,
    HAMetricsModule,
    HealthModule,
    OrdersModule,
  ],
})
export class AppModule {}
