import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HADatabase, HAModule } from 'nestjs-ha';

/** A folder for one run, and the applications that live in it. */
export class BenchCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'nestjs-ha-bench-'));
  private readonly apps: INestApplicationContext[] = [];
  private count = 0;

  /** Starts an application; `stream` is `standalone`, `nats://…` or `embedded`. */
  async node(
    replicationID: string,
    stream: string,
    extra = '',
  ): Promise<{ db: HADatabase; close: () => Promise<void> }> {
    const name = `n${++this.count}`;
    const parameters = new URLSearchParams({ name, replicationID });
    if (stream === 'embedded') {
      parameters.set('natsPort', '0');
      parameters.set('natsStoreDir', join(this.folder, 'nats'));
    } else if (stream !== 'standalone') parameters.set('replicationURL', stream);
    const dsn = `file:${join(this.folder, `${name}.db`)}?${parameters.toString()}${extra}`;
    const app = await NestFactory.createApplicationContext(
      { module: class BenchModule {}, imports: [HAModule.forRoot(dsn, { retryAttempts: 0 })] },
      { logger: ['error'] },
    );
    this.apps.push(app);
    return { db: app.get(HADatabase), close: () => app.close() };
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async close(): Promise<void> {
    for (const app of this.apps.toReversed()) await app.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
