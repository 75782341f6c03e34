import type { Type } from '@nestjs/common';
import type { ModuleRef } from '@nestjs/core';
import { HAError } from '../common/ha-error.js';
import type { HACDCRegistration, HACDCTarget } from './target.js';
import type { Registration } from './target-runner.js';

/** Targets as the module options name them. */
export type GivenTargets = readonly (Type<HACDCTarget> | HACDCRegistration)[];

const DEFAULTS = {
  snapshot: 'initial',
  includeSchemaChanges: true,
  maxBatchSize: 1_000,
  shutdownTimeout: 5_000,
} as const;

/**
 * The targets of one database in a Nest application. They are known by name at once, found when all providers are there,
 * and served when the application has started.
 */
export class NestTargets {
  private readonly instances = new Map<Registration, HACDCTarget>();
  private readonly started: Promise<void>;
  private release: () => void = () => undefined;
  private readonly sources = new Map<Registration, Type<HACDCTarget> | HACDCTarget>();

  constructor(
    given: GivenTargets,
    /** Default of `topicPrefix`. */
    topicPrefix: string,
    private readonly modules: ModuleRef,
  ) {
    this.started = new Promise((resolve) => {
      this.release = resolve;
    });
    for (const each of given) {
      const { target, ...settings } = typeof each === 'function' ? { target: each } : each;
      const name = typeof target === 'function' ? target.name : target.constructor.name;
      const registration: Registration = {
        settings: { name, topicPrefix, ...DEFAULTS, ...settings },
        resolve: () => this.find(registration),
      };
      this.sources.set(registration, target);
    }
  }

  get registrations(): readonly Registration[] {
    return [...this.sources.keys()];
  }

  /**
   * Finds or makes every target.
   *
   * @throws HAError `HA_OPTIONS_INVALID` for what is no target; what Nest throws where one cannot be made.
   */
  async init(): Promise<void> {
    for (const [registration, source] of this.sources) {
      const target = typeof source === 'function' ? await this.provided(source) : source;
      if (typeof (target as Partial<HACDCTarget>).deliver !== 'function') {
        throw new HAError(
          'HA_OPTIONS_INVALID',
          `The CDC target '${registration.settings.name}' has no method deliver(events, context).`,
        );
      }
      this.instances.set(registration, target);
    }
  }

  /** Begins to serve: call when the application has started. */
  start(): void {
    this.release();
  }

  private async provided(type: Type<HACDCTarget>): Promise<HACDCTarget> {
    try {
      return this.modules.get(type, { strict: false });
    } catch {
      return this.modules.create(type);
    }
  }

  private async find(registration: Registration): Promise<HACDCTarget> {
    await this.started;
    return this.instances.get(registration) as HACDCTarget;
  }
}
