import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import type { INestApplication, ModuleMetadata, NestApplicationOptions } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { partToken } from '../../../lib/common/tokens.js';
import type { HALeader } from '../../../lib/leader/leader.js';
import { HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import type { HATestingOptions } from '../../../lib/testing/ha-testing.module.js';
import { onCleanup } from '../../helper/cluster.js';

export type AdapterName = 'express' | 'fastify';

/** The adapters that Nest has for HTTP. */
export const ADAPTERS: readonly AdapterName[] = ['express', 'fastify'];

export interface StartedApp {
  readonly app: INestApplication;
  readonly url: string;
}

export interface AppSettings {
  readonly leader?: HALeader;
  readonly database?: HATestingOptions;
  readonly options?: NestApplicationOptions;
  /** Several tests use it, and close it. Default: it is closed behind the test. */
  readonly isShared?: boolean;
  /** Called in front of `listen`. */
  readonly prepare?: (app: INestApplication) => void | Promise<void>;
}

/** An application on a free port. */
export async function startApp(
  adapter: AdapterName,
  metadata: ModuleMetadata,
  { leader, database = {}, options = {}, prepare, isShared = false }: AppSettings = {},
): Promise<StartedApp> {
  const builder = Test.createTestingModule({
    ...metadata,
    imports: [HATestingModule.forRoot(database), ...(metadata.imports ?? [])],
  });
  if (leader !== undefined) builder.overrideProvider(partToken('leader', database.connection)).useValue(leader);
  const module = await builder.compile();
  const all = { logger: false as const, forceCloseConnections: true, ...options };
  const app =
    adapter === 'express'
      ? module.createNestApplication(all)
      : module.createNestApplication(
          new FastifyAdapter({ forceCloseConnections: options.forceCloseConnections ?? true }),
          all,
        );
  if (!isShared) onCleanup(() => app.close());
  await prepare?.(app);
  await app.listen(0, '127.0.0.1');
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  return { app, url: `http://127.0.0.1:${port}` };
}
