import { Global, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { HAGrpcHost } from './ha-grpc-host.js';
import { HADatabaseRegistry } from './ha-database-registry.js';
import { HARegistry } from './ha-registry.js';
import { DEFAULT_WIRING, HA_WIRING } from './ha-wiring.js';
import { ChangeExplorer } from './listeners/change-explorer.js';

/** What all databases of an application have in common. */
@Global()
@Module({
  imports: [DiscoveryModule],
  providers: [
    HARegistry,
    HADatabaseRegistry,
    HAGrpcHost,
    ChangeExplorer,
    { provide: HA_WIRING, useValue: DEFAULT_WIRING },
  ],
  exports: [HARegistry, HADatabaseRegistry, HAGrpcHost, HA_WIRING],
})
export class HASharedModule {}
