import type {
  BeforeApplicationShutdown,
  OnApplicationBootstrap,
  OnApplicationShutdown,
  OnModuleInit,
} from '@nestjs/common';
import type { NestTargets } from './cdc/nest-targets.js';
import type { HARuntime } from './ha-runtime.js';
import { HADatabase } from './write/ha-database.js';

/**
 * Ties a database to the application.
 *
 * Start (module init, or the first call before that, whichever comes first):
 * 1. open the file and its connections
 * 2. find or start NATS, connect, make the stream where it is missing
 * 3. join the cluster: claim the subject, take the node's name, lease a slot of ids
 * 4. compare the stored position with the stream; where it is new, or lacks what the stream no longer has: take a snapshot
 * 5. follow the stream, and wait until what it held is applied
 * 6. take writes
 * 7. with a leaderProvider: look for the leader, and stand for election
 * 8. once the whole application has started: serve the targets of change data capture
 *
 * Stop: let another node lead. In reverse, when HTTP servers have drained: finish the writes that wait, stop following, leave the cluster,
 * disconnect, stop the embedded server, close the file.
 */
export class HALifecycle
  implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown
{
  constructor(
    private readonly runtime: HARuntime,
    /** What is injected as the database: a test may have put something else there, and then nothing is opened. */
    private readonly database: unknown,
    private readonly targets: NestTargets,
  ) {}

  async onModuleInit(): Promise<void> {
    const { runtime, database } = this;
    await this.targets.init();
    if (runtime.autoStart && database instanceof HADatabase && database.isOpenedBy(runtime)) await runtime.start();
  }

  onApplicationBootstrap(): void {
    this.targets.start();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.runtime.handOver();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.runtime.close();
  }
}
