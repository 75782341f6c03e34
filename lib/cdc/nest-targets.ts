import type { Type } from '@nestjs/common';
import type { ModuleRef } from '@nestjs/core';
import { Problems } from '../config/problems.js';
import type { ReadTarget } from './registrations.js';
import type { HACDCTarget } from './target.js';
import type { Registration } from './target-runner.js';

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
    given: readonly ReadTarget[],
    /** Default of `topicPrefix`. */
    topicPrefix: string,
    private readonly modules: ModuleRef,
  ) {
    this.started = new Promise((resolve) => {
      this.release = resolve;
    });
    for (const { source, settings } of given) {
      const registration: Registration = {
        settings: { topicPrefix, ...settings },
        resolve: () => this.find(registration),
      };
      this.sources.set(registration, source);
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
    const problems = new Problems();
    for (const [registration, source] of this.sources) {
      const target = typeof source === 'function' ? await this.provided(source) : source;
      if (typeof (target as Partial<HACDCTarget>).deliver === 'function') this.instances.set(registration, target);
      else problems.add(`the CDC target '${registration.settings.name}' has no method deliver(events, context)`);
    }
    problems.throwIfAny();
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
