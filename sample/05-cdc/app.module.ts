import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { OrdersController } from './orders/orders.controller.js';
import { OrdersService } from './orders/orders.service.js';
import { OrdersFile } from './targets/orders-file.js';
import { OrdersTopic } from './targets/orders-topic.js';
import { OrdersWebhook } from './targets/orders-webhook.js';
import { Warehouse } from './targets/warehouse.js';

const DEFAULT_DSN = 'file:orders1.db?name=node1&replicationID=orders&natsPort=4222&natsStoreDir=nats-data';

@Module({
  imports: [
    HAModule.forRoot(process.env.HA_DSN ?? DEFAULT_DSN, {
      cdc: [
        OrdersFile,
        { target: OrdersWebhook, includeSchemaChanges: false, maxBatchSize: 100 },
        { target: OrdersTopic, topicPrefix: 'shop' },
      ],
    }),
  ],
  controllers: [OrdersController],
  providers: [OrdersService, OrdersFile, OrdersTopic, OrdersWebhook, Warehouse],
})
export class AppModule {}
