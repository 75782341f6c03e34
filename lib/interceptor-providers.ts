import type { FactoryProvider, Provider, Type } from '@nestjs/common';
import { SCOPE_OPTIONS_METADATA } from '@nestjs/common/constants.js';
import type { HAInterceptor } from './changeset/interceptor.js';
import { interceptorProblems } from './apply/interceptors.js';
import { partToken } from './common/tokens.js';
import { Problems } from './config/problems.js';
import { titleOf } from './config/resolve.js';
import { describe } from './config/value-types.js';

/** How an interceptor is made: a class that Nest injects into, an instance, or a factory with what it injects. */
export type HAInterceptorProvider =
  Type<HAInterceptor> | HAInterceptor | Pick<FactoryProvider<HAInterceptor>, 'useFactory' | 'inject'>;

/** Providers of the interceptors of a database, and of the list of them. */
export function interceptorProviders(connection: string, given: readonly HAInterceptorProvider[]): Provider[] {
  check(connection, given);
  const made = given.map((one, index): Provider & { provide: string } => {
    const provide = `${partToken('interceptors', connection)}:${index}`;
    if (typeof one === 'function') return { provide, useClass: one };
    if ('useFactory' in one) {
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

const ALLOWED = `a class, an instance such as MergeCounter('accounts', 'balance'), or { useFactory, inject }`;

/** Without types there may be anything; everything that is wrong is in one error. */
function check(connection: string, given: unknown): void {
  const problems = new Problems();
  if (Array.isArray(given)) {
    given.forEach((one: unknown, index) => checkOne(one, `option interceptors[${index}]`, problems));
  } else {
    problems.add(`option interceptors: ${describe(given)} is not a list; allowed: a list, each ${ALLOWED}`);
  }
  problems.throwIfAny(titleOf({ connection }));
}

function checkOne(one: unknown, where: string, problems: Problems): void {
  if (typeof one === 'function') {
    if (isScoped(one)) {
      problems.add(
        `${where}: the interceptor ${one.name} is request-scoped or transient; there is one for all transactions, so it has to be a singleton`,
      );
    }
  } else if (typeof one !== 'object' || one === null || Array.isArray(one)) {
    problems.add(`${where}: ${describe(one)} is no interceptor; allowed: ${ALLOWED}`);
  } else if ('useFactory' in one) {
    if (typeof one.useFactory !== 'function') {
      problems.add(`${where}.useFactory: ${describe(one.useFactory)} is not allowed; allowed: a function`);
    }
  } else for (const problem of interceptorProblems(one)) problems.add(`${where}: ${problem}`);
}

/** One of a request cannot decide on what comes from the stream. */
function isScoped(type: object): boolean {
  const options = Reflect.getMetadata(SCOPE_OPTIONS_METADATA, type) as { scope?: unknown } | undefined;
  return options?.scope !== undefined && options.scope !== 0;
}
