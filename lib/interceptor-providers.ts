import type { FactoryProvider, Provider, Type } from '@nestjs/common';
import { SCOPE_OPTIONS_METADATA } from '@nestjs/common/constants.js';
import type { HAInterceptor } from './changeset/interceptor.js';
import { HAError } from './common/ha-error.js';
import { partToken } from './common/tokens.js';

/** How an interceptor is made: a class that Nest injects into, an instance, or a factory with what it injects. */
export type HAInterceptorProvider =
  Type<HAInterceptor> | HAInterceptor | Pick<FactoryProvider<HAInterceptor>, 'useFactory' | 'inject'>;

/** Providers of the interceptors of a database, and of the list of them. */
export function interceptorProviders(connection: string, given: readonly HAInterceptorProvider[]): Provider[] {
  const made = given.map((one, index): Provider & { provide: string } => {
    const provide = `${partToken('interceptors', connection)}:${index}`;
    if (typeof one === 'function') {
      refuseScoped(one);
      return { provide, useClass: one };
    }
    if (one !== null && typeof one === 'object' && 'useFactory' in one) {
      return { provide, useFactory: one.useFactory, inject: one.inject ?? [] };
    }
    return { provide, useValue: one };
  });
  const list: Provider = {
    provide: partToken('interceptors', connection),
    inject: made.map(({ provide }) => provide),
    useFactory: (...instances: HAInterceptor[]) => instances,
  };
  return [...made, list];
}

/** One of a request cannot decide on what comes from the stream. */
function refuseScoped(type: Type<HAInterceptor>): void {
  const options = Reflect.getMetadata(SCOPE_OPTIONS_METADATA, type) as { scope?: unknown } | undefined;
  if (options?.scope === undefined || options.scope === 0) return;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    `The interceptor ${type.name} is request-scoped or transient: there is one for all transactions, so it has to be a singleton.`,
  );
}
