import { StoredRows, tolerant } from '../apply/stored-rows.js';
import type { UniqueIndex } from '../apply/unique-index.js';
import type { ConfigureConnection } from '../sqlite/connection.js';
import type { TableInfo } from '../sqlite/schema.js';
import { GeneratedUniques } from './generated-uniques.js';
import { isSameValue } from './row-places.js';
import type { RowImage, RowPlace, RowPlaces } from './row-places.js';
import { rowsHaving } from './rows-having.js';

/** A stored row, and the text of its place. */
export interface StoredAt {
  readonly text: string;
  readonly image: RowImage;
}

/** The stored rows that a row would meet in unique indexes, and which of two rows exclude each other. Writes nothing. */
export class RowsInTheWay {
  private readonly stored: StoredRows;
  private readonly generated: GeneratedUniques;

  /** Call {@link close} at the end. */
  constructor(
    private readonly places: RowPlaces,
    configure: ConfigureConnection | undefined,
  ) {
    this.stored = new StoredRows(places.db);
    this.generated = new GeneratedUniques(places, configure);
  }

  close(): void {
    this.generated.close();
  }

  /** The rows that a row would meet at a place, each once, as they are stored; what is there itself is none of them. */
  of(place: RowPlace, target: RowImage): StoredAt[] {
    const { table } = place;
    const images = this.indexesOf(place).flatMap((index) => {
      const values = this.stored.valuesIn(table, index, target.values);
      if (values === undefined) return [];
      return (tolerant(() => rowsHaving(this.places, table, index, values)) ?? []) as RowImage[];
    });
    images.push(...this.generated.inTheWayOf(table, target));
    const found = new Map(images.map((image) => [this.places.place(table, image).text, image]));
    found.delete(place.text);
    return [...found].map(([text, image]) => ({ text, image }));
  }

  /** True where two rows cannot be in a table at once. */
  exclude(table: TableInfo, a: RowImage, b: RowImage): boolean {
    const plan = this.places.planOf(table);
    return this.stored.exclude(plan, a.values, b.values) || this.generated.exclude(table, a, b);
  }

  /** False where a row that becomes another one meets nobody that it has not met before. */
  mayMeet(place: RowPlace, now: RowImage, target: RowImage): boolean {
    if (this.places.generatedOf(place.table).length > 0) return true;
    return this.indexesOf(place).some(({ parts, where }) => {
      if (where !== undefined) return true;
      return parts.some(
        ({ column }) => column === undefined || !isSameValue(now.values[column], target.values[column]),
      );
    });
  }

  /** Where the place is the key, the row with the same key is the row itself. */
  private indexesOf({ table, by }: RowPlace): readonly UniqueIndex[] {
    const { primary, others } = this.places.keysOf(table);
    return by === 'key' || primary === undefined ? others : [primary, ...others];
  }
}
