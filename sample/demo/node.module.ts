import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import type { NodeConfig } from './messages.js';
import { PlacesService } from './places.service.js';

/** The application that each node runs. */
@Module({})
export class NodeModule {
  static forRoot({ dsn }: NodeConfig): DynamicModule {
    return { module: NodeModule, imports: [HAModule.forRoot(dsn)], providers: [PlacesService] };
  }
}
