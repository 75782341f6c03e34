import { resolveOptions } from '../config/resolve.js';
import type { HAOptionsWithDsn } from '../config/resolve.js';
import type { Environment } from '../config/environment.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import type { HAWiring } from '../ha-wiring.js';
import type { MemoryStream } from '../stream/memory/memory-stream.js';
import type { HATestingBroker } from './ha-testing-broker.js';

/** Wires databases to a broker in this process, and to files that vanish when they are closed. */
export class TestingWiring implements HAWiring {
  constructor(
    private readonly broker: HATestingBroker,
    private readonly environment: Environment,
  ) {}

  resolve(options: HAOptionsWithDsn, connection: string): ResolvedHAOptions {
    const resolved = resolveOptions(options, undefined, this.environment);
    const replicationID = resolved.replicationID === '' ? connection : resolved.replicationID;
    const name = this.broker.nameFor({ ...resolved, replicationID });
    const file = { filename: ':memory:', memory: true, mustExist: false };
    // A free port disturbs nobody; any other may be taken by another test.
    const grpcPort = resolved.grpcPort === 0 ? 0 : undefined;
    return Object.freeze({ ...resolved, ...file, grpcPort, name, replicationID });
  }

  stream(options: ResolvedHAOptions): MemoryStream {
    return this.broker.streamFor(options);
  }
}
