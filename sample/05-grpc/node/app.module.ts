import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { HAGrpcModule } from 'nestjs-ha/grpc';
import { ItemsController } from './items.controller.js';
import { ItemsService } from './items.service.js';

const DEFAULT_DSN =
  'file:stock1.db?name=stock1&replicationID=stock&natsPort=4222&natsStoreDir=nats-data&grpcPort=5001&grpcToken=secret';

@Module({
  imports: [HAModule.forRoot(process.env.HA_DSN ?? DEFAULT_DSN), HAGrpcModule.forRoot()],
  controllers: [ItemsController],
  providers: [ItemsService],
})
export class AppModule {}
