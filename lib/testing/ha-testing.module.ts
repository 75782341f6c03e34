import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { HACoreModule } from '../ha-core.module.js';
import type { HAModuleOptions } from '../ha-module-options.js';
import { HA_WIRING } from '../ha-wiring.js';
import { HATestingBroker } from './ha-testing-broker.js';
import { TestingWiring } from './testing-wiring.js';

// The entry point `nestjs-ha/testing`.

export { HATestingBroker } from './ha-testing-broker.js';

/** Options of a database in a test. What says where file and stream are, does not count. */
export interface HATestingOptions extends HAModuleOptions {
  /** Parameters of SQLite, as in `:memory:?_foreign_keys=on`. Default `:memory:`. */
  dsn?: string;
  /** Shared by applications that replicate to each other. Default a broker of its own. */
  broker?: HATestingBroker;
}

/** What `Test.createTestingModule` returns, as far as it is used here. */
interface ModuleBuilder {
  overrideProvider(token: unknown): { useValue(value: unknown): unknown };
}

/**
 * A database for tests: the providers of `HAModule`, on a stream and a file that vanish with the process. No server, no
 * environment variables, nothing to clean up.
 */
@Module({})
export class HATestingModule {
  /**
   * Registers a database.
   *
   * @example
   * Test.createTestingModule({ imports: [HATestingModule.forRoot()], providers: [UsersService] })
   */
  static forRoot(options: HATestingOptions = {}): DynamicModule {
    const { broker = new HATestingBroker(), dsn = ':memory:', name = 'node', ...rest } = options;
    const wiring = new TestingWiring(broker, {});
    const core = HACoreModule.forRoot({ ...rest, name, dsn }, wiring);
    return { module: HATestingModule, imports: [core], exports: [core] };
  }

  /**
   * Takes an application as it is, `HAModule.forRoot(…)` included, and puts all its databases on a broker in this process
   * and on files that vanish. Everything else in the options counts.
   *
   * @example
   * const app = HATestingModule.override(Test.createTestingModule({ imports: [AppModule] }), { broker })
   */
  static override<B extends ModuleBuilder>(builder: B, options: { broker?: HATestingBroker } = {}): B {
    const { broker = new HATestingBroker() } = options;
    builder.overrideProvider(HA_WIRING).useValue(new TestingWiring(broker, process.env));
    return builder;
  }
}
