import { Inject, Injectable, Module } from '@nestjs/common';
import { HealthIndicatorService, TerminusModule } from '@nestjs/terminus';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { HAError } from '../common/ha-error.js';
import { DEFAULT_CONNECTION } from '../common/tokens.js';
import { interval } from '../config/value-types.js';
import type { Duration } from '../config/stream-options.js';
import { HARegistry } from '../ha-registry.js';
import type { HARuntime } from '../ha-runtime.js';
import { HASharedModule } from '../ha-shared.module.js';
import { isBusy } from '../sqlite/connections.js';
import type { HALag, HAStatus } from '../write/status.js';
import { toJson } from './to-json.js';

// The entry point `nestjs-ha/terminus`.

/** When a database counts as down, besides where it is not started, halted or failing. */
export interface HAHealthOptions {
  /** Name of the database, where an application has several. Default `default`. */
  connection?: string;
  /**
   * Down where this node is behind the stream for longer, or does not know because the stream does not answer for longer.
   * A Go duration or milliseconds. Default: never.
   */
  maxLag?: Duration;
  /**
   * Down at once where the stream is away or does not answer. Default false: reads go on, and all nodes would be down together.
   */
  requireConnected?: boolean;
  /** How long the stream may take to say where it stands. Default 1s. */
  timeout?: Duration;
}

/** What is wrong with a database; undefined where nothing is. */
type Verdict = string | undefined;

/**
 * Health of a database for [Terminus](https://docs.nestjs.com/recipes/terminus). The result holds everything that
 * `db.status()` says, and the lag.
 *
 * @example
 * this.health.check([() => this.ha.isHealthy('database', { maxLag: '30s' })])
 */
@Injectable()
export class HAHealthIndicator {
  constructor(
    @Inject(HealthIndicatorService) private readonly indicator: HealthIndicatorService,
    @Inject(HARegistry) private readonly registry: HARegistry,
  ) {}

  /**
   * @param key Name in the result.
   * @throws HAError `HA_OPTIONS_INVALID` for a database that nobody registers, or an option that is none.
   */
  async isHealthy<const Key extends string>(
    key: Key,
    options: HAHealthOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    const runtime = this.find(options.connection ?? DEFAULT_CONNECTION);
    const maxLag = options.maxLag === undefined ? undefined : readDuration('maxLag', options.maxLag);
    const timeout = readDuration('timeout', options.timeout ?? 1_000);
    const status = runtime.status();
    const lag = await runtime.lag(timeout);
    const message = stateVerdict(status) ?? connectionVerdict(status, lag, options) ?? lagVerdict(lag, maxLag);
    const details = toJson({ ...status, lag }) as Record<string, unknown>;
    const check = this.indicator.check(key);
    return message === undefined ? check.up(details) : check.down({ message, ...details });
  }

  private find(connection: string): HARuntime {
    const runtime = this.registry.get(connection);
    if (runtime !== undefined) return runtime;
    throw new HAError(
      'HA_OPTIONS_INVALID',
      `No HAModule registers a database '${connection}'; there are: ${this.registry.connections.join(', ')}.`,
      { details: { connection } },
    );
  }
}

/** Makes {@link HAHealthIndicator} available. */
@Module({
  imports: [TerminusModule, HASharedModule],
  providers: [HAHealthIndicator],
  exports: [HAHealthIndicator],
})
export class HAHealthModule {}

function stateVerdict({ state, lastError }: HAStatus): Verdict {
  // Somebody else holds the file for a moment: whether it is too long, the lag tells.
  if (state === 'running' || (state === 'retrying' && isBusy(lastError))) return undefined;
  return lastError === undefined ? `the database is ${state}` : `the database is ${state}: ${lastError.message}`;
}

function connectionVerdict(
  { role, connected }: HAStatus,
  lag: HALag,
  { requireConnected = false }: HAHealthOptions,
): Verdict {
  if (!requireConnected || role === 'standalone') return undefined;
  if (!connected) return 'the stream is away';
  return lag.answered ? undefined : 'the stream does not answer';
}

function lagVerdict({ seconds, answered }: HALag, maxLag = Infinity): Verdict {
  if (seconds * 1_000 <= maxLag) return undefined;
  const what = answered ? 'the database is behind' : 'the stream does not answer';
  return `${what} since ${seconds} s, ${maxLag / 1_000} s are allowed`;
}

function readDuration(name: string, value: Duration): number {
  try {
    return interval.parse(value);
  } catch (error) {
    throw new HAError('HA_OPTIONS_INVALID', `${name}: ${(error as Error).message}; allowed: ${interval.allowed}`, {
      cause: error,
    });
  }
}
