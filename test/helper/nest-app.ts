import type { INestApplication, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { collect, onCleanup } from './cluster.js';

/** Starts an application of one module; it is closed behind the test. */
export async function startApp(module: Type): Promise<INestApplication> {
  const compiled = await Test.createTestingModule({ imports: [module] })
    .setLogger(collect([]))
    .compile();
  const app = compiled.createNestApplication();
  onCleanup(() => app.close());
  await app.init();
  return app;
}
