import { Injectable } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';
import { SCHEMA } from './schema.js';

/** A place as the data set has it, under the id that it gets here. */
export interface Place {
  readonly id: number;
  readonly name: string;
  readonly country: string;
  readonly admin1: string;
  readonly admin2: string;
  readonly lat: number;
  readonly lng: number;
}

/** What an editor does to a place. */
export type Edit =
  | { readonly what: 'rename'; readonly id: number; readonly name: string }
  | { readonly what: 'move'; readonly id: number; readonly lat: number; readonly lng: number }
  | { readonly what: 'delete'; readonly id: number };

const INSERT = `
  INSERT INTO place (id, name, country, admin1, admin2, lat, lng)
  VALUES (:id, :name, :country, :admin1, :admin2, :lat, :lng)`;

/** The application: what it reads and writes. */
@Injectable()
export class PlacesService {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  async createTables(): Promise<void> {
    await this.db.exec(SCHEMA);
  }

  /** Stores places as one transaction. */
  async add(places: readonly Place[]): Promise<void> {
    await this.db.transaction(async (tx) => {
      const insert = tx.prepare(INSERT);
      for (const place of places) await insert.run(place);
    });
  }

  /** Changes places and keeps a record of it, as one transaction. */
  async edit(node: string, edits: readonly Edit[]): Promise<void> {
    await this.db.transaction(async (tx) => {
      const record = tx.prepare('INSERT INTO edit (place_id, node, what) VALUES (?, ?, ?)');
      for (const edit of edits) {
        const { changes } = await tx.run(...statement(edit));
        if (changes > 0) await record.run(edit.id, node, edit.what);
      }
    });
  }

  /** Writes a note; SQLite chooses its id. */
  async note(node: string, text: string): Promise<void> {
    await this.db.run('INSERT INTO note (node, text) VALUES (?, ?)', [node, text]);
  }

  /** Writes a row of this node alone; returns its sequence in the stream. */
  async probe(node: string): Promise<bigint> {
    const { txseq } = await this.db.run(
      'INSERT INTO probe VALUES (?, 1) ON CONFLICT (node) DO UPDATE SET beats = beats + 1',
      [node],
    );
    return txseq ?? 0n;
  }

  async count(): Promise<number> {
    return (await this.db.get<{ count: number }>('SELECT count(*) AS count FROM place'))?.count ?? 0;
  }

  /** The highest id that has arrived here. */
  async lastId(): Promise<number> {
    return (await this.db.get<{ id: number | null }>('SELECT max(id) AS id FROM place'))?.id ?? 0;
  }

  /** Records of changes that the place does not show: another node changed it at the same time, and came last. */
  async overwritten(): Promise<number> {
    const row = await this.db.get<{ lost: number | null }>(`
      SELECT sum(made - edits) AS lost FROM place
      JOIN (SELECT place_id, count(*) AS made FROM edit GROUP BY place_id) ON place_id = id`);
    return row?.lost ?? 0;
  }
}

function statement(edit: Edit): [sql: string, params: unknown[]] {
  const { what, id } = edit;
  if (what === 'delete') return ['DELETE FROM place WHERE id = ?', [id]];
  if (what === 'rename') return ['UPDATE place SET name = ?, edits = edits + 1 WHERE id = ?', [edit.name, id]];
  return ['UPDATE place SET lat = lat + ?, lng = lng + ?, edits = edits + 1 WHERE id = ?', [edit.lat, edit.lng, id]];
}
