import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { AccountsModule } from './accounts/accounts.module.js';
import { AuditModule } from './audit/audit.module.js';

/** No broker at all: with `streamMaxAge` a standalone database keeps its history in a file of its own. */
const DEFAULT_DSN = 'file:accounts.db?name=node1&replicationID=accounts&streamMaxAge=720h';

@Module({
  imports: [HAModule.forRoot(process.env.HA_DSN ?? DEFAULT_DSN), AccountsModule, AuditModule],
})
export class AppModule {}
