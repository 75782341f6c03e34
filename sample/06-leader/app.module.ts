import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { LeaderController } from './leader.controller.js';
import { OrdersModule } from './orders/orders.module.js';

const DEFAULT_DSN =
  'file:orders1.db?name=node1&replicationID=orders&natsPort=4222&natsStoreDir=nats-data&clusterSize=3&leaderProvider=dynamic:http://127.0.0.1:3000';

@Module({
  imports: [HAModule.forRoot(process.env.HA_DSN ?? DEFAULT_DSN), OrdersModule],
  controllers: [LeaderController],
})
export class AppModule {}
