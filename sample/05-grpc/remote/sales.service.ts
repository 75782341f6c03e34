import { ConflictException, Injectable } from '@nestjs/common';
import { HARemoteDatabase } from 'nestjs-ha/grpc';

/** Keeps no copy of the database: every statement goes to a node. */
@Injectable()
export class SalesService {
  constructor(private readonly db: HARemoteDatabase) {}

  async deliver(name: string, count: number): Promise<void> {
    await this.db.run(
      'INSERT INTO item VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET count = item.count + excluded.count',
      [name, BigInt(count)],
    );
  }

  /** Serializable, so that two nodes never sell the same piece. */
  sell(name: string, count: number): Promise<{ name: string; left: number }> {
    return this.db.transaction(
      async (tx) => {
        const item = await tx.get<{ count: number }>('SELECT count FROM item WHERE name = ?', [name]);
        const left = (item?.count ?? 0) - count;
        if (left < 0) throw new ConflictException(`There are only ${item?.count ?? 0} of ${name}.`);
        await tx.run('UPDATE item SET count = ? WHERE name = ?', [BigInt(left), name]);
        return { name, left };
      },
      { serializable: true },
    );
  }
}
