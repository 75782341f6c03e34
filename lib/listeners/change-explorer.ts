import { Inject, Injectable, Logger } from '@nestjs/common';
import type { OnApplicationBootstrap } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { HAError } from '../common/ha-error.js';
import { CHANGE_LISTENERS } from '../common/on-change.js';
import type { ChangeListener } from '../common/on-change.js';
import { HARegistry } from '../ha-registry.js';
import { ChangeHandler } from './change-handler.js';

type Wrapper = ReturnType<DiscoveryService['getProviders']>[number];

/** Finds the methods that `@OnHAChange` marks, and connects them with their databases once the application has started. */
@Injectable()
export class ChangeExplorer implements OnApplicationBootstrap {
  private readonly logger = new Logger('HAModule');

  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
    @Inject(HARegistry) private readonly registry: HARegistry,
  ) {}

  onApplicationBootstrap(): void {
    const seen = new Set<unknown>();
    for (const wrapper of [...this.discovery.getProviders(), ...this.discovery.getControllers()]) {
      const prototype = prototypeOf(wrapper);
      // An alias is a second provider of one instance.
      if (prototype === undefined || wrapper.isAlias || seen.has(wrapper.instance ?? prototype)) continue;
      seen.add(wrapper.instance ?? prototype);
      for (const method of this.scanner.getAllMethodNames(prototype)) this.connect(wrapper, prototype, method);
    }
  }

  private connect(wrapper: Wrapper, prototype: object, method: string): void {
    const target = (prototype as Record<string, unknown>)[method] as object;
    const listeners = Reflect.getMetadata(CHANGE_LISTENERS, target) as ChangeListener[] | undefined;
    if (listeners === undefined) return;
    const name = `${String(wrapper.name)}.${method}`;
    if (!wrapper.isDependencyTreeStatic()) {
      this.logger.warn(`${name} is never called for changes: @OnHAChange needs a provider that is not request-scoped.`);
      return;
    }
    for (const connection of new Set(listeners.map((listener) => listener.connection))) {
      const own = listeners.filter((listener) => listener.connection === connection);
      const instance = wrapper.instance as Record<string, (change: unknown) => unknown>;
      const handler = new ChangeHandler(name, own, (change) => instance[method]?.(change), this.logger);
      const runtime = this.registry.get(connection);
      if (runtime === undefined) throw this.unknown(name, connection);
      if (runtime.isStandalone) this.logger.warn(`${name} is never called for changes: '${connection}' has no stream.`);
      runtime.changes.subscribe((change) => handler.take(change));
    }
  }

  private unknown(name: string, connection: string): HAError {
    return new HAError(
      'HA_OPTIONS_INVALID',
      `${name} listens to the database '${connection}', which no HAModule registers; there are: ${this.registry.connections.join(', ')}.`,
      { details: { connection } },
    );
  }
}

function prototypeOf(wrapper: Wrapper): object | undefined {
  const instance: unknown = wrapper.instance;
  if (typeof instance === 'object' && instance !== null) return Object.getPrototypeOf(instance) as object;
  const { metatype } = wrapper;
  // Request-scoped providers have no instance here.
  return typeof metatype === 'function' && wrapper.inject === undefined
    ? (metatype.prototype as object | undefined)
    : undefined;
}
