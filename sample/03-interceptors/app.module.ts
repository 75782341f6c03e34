import { Module } from '@nestjs/common';
import { HAModule, LastWriteWinsByColumn, MergeCounter } from 'nestjs-ha';
import { NoOverselling } from './policy/no-overselling.js';
import { PolicyModule } from './policy/policy.module.js';
import { ShopModule } from './shop/shop.module.js';

const DEFAULT_DSN = 'file:shop1.db?name=node1&replicationID=shop&natsPort=4222&natsStoreDir=nats-data';

@Module({
  imports: [
    HAModule.forRoot(process.env.HA_DSN ?? DEFAULT_DSN, {
      imports: [PolicyModule],
      interceptors: [
        NoOverselling,
        MergeCounter('stock', 'amount'),
        LastWriteWinsByColumn('updated_at', { tables: ['prices'] }),
      ],
    }),
    ShopModule,
  ],
})
export class AppModule {}
