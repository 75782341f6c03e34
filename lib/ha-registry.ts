import { Injectable, Module } from '@nestjs/common';
import { HAError } from './common/ha-error.js';

/** The names of an application's databases. One for each Nest container, never static: applications share nothing. */
@Injectable()
export class HARegistry {
  private readonly names = new Set<string>();

  /**
   * Takes a name.
   *
   * @throws HAError `HA_DUPLICATE_CONNECTION` where another database has it.
   */
  claim(name: string): void {
    if (this.names.has(name)) {
      throw new HAError(
        'HA_DUPLICATE_CONNECTION',
        `Two databases are named '${name}'. Give each HAModule.forRoot a connection of its own: { connection: 'orders' }.`,
        { details: { connection: name } },
      );
    }
    this.names.add(name);
  }
}

@Module({ providers: [HARegistry], exports: [HARegistry] })
export class HARegistryModule {}
