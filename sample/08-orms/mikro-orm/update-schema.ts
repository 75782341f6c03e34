import type { MikroORM } from '@mikro-orm/better-sqlite';
import type { HADatabase } from 'nestjs-ha';

/** Brings the tables up to the entities, also where another node does so at the same time: then it looks again. */
export async function updateSchema(orm: MikroORM, db: HADatabase): Promise<void> {
  for (;;) {
    const script = await orm.schema.getUpdateSchemaSQL({ safe: true });
    if (script.trim() === '') return;
    try {
      await db.exec(script);
    } catch (error) {
      if (!/already exists/.test(String(error))) throw error;
    }
  }
}
