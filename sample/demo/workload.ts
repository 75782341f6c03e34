import { setTimeout as sleep } from 'node:timers/promises';
import { readPlaces } from './data-set.js';
import type { Meter } from './meter.js';
import type { Edit, Place, PlacesService } from './places.service.js';

const BATCH_ROWS = 300;
const BATCHES_IN_FLIGHT = 4;
/** Loading is held to this, so that it leaves the editors room and takes long enough to watch. */
const ROWS_PER_SECOND = 12_000;
const EDITORS = 8;
const EDITS_PER_TRANSACTION = 5;
const EDIT_PAUSE_MS = 5;
/** One transaction in so many writes a note, under an id that SQLite chooses. */
const NOTE_EVERY = 50;
/** Every node edits these again and again, so that they meet. */
const CONTESTED_PLACES = 50;
const PROBE_PAUSE_MS = 20;

/** What the nodes do at the same time. */
export class Workload {
  loaded = 0;
  private data: readonly Place[] = [];
  private finishing = false;
  private lastId = 0;

  constructor(
    private readonly name: string,
    private readonly places: PlacesService,
    private readonly meter: Meter,
  ) {}

  get total(): number {
    return this.data.length;
  }

  /** Reads the data set, which takes the loop for a while: before anything is measured. */
  async prepare(): Promise<void> {
    this.data = await readPlaces();
  }

  /** Lets everything that runs come to its end. */
  finish(): void {
    this.finishing = true;
  }

  /** Loads the data set: batches of some hundred rows, several in flight. */
  async load(): Promise<void> {
    const { data } = this;
    let next = 0;
    const begun = performance.now();
    const probing = this.probe();
    await times(BATCHES_IN_FLIGHT, async () => {
      while (next < data.length && !this.finishing) {
        const batch = data.slice(next, (next += BATCH_ROWS));
        await this.meter.timed(() => this.places.add(batch));
        this.loaded += batch.length;
        await sleep(begun + (next / ROWS_PER_SECOND) * 1_000 - performance.now());
      }
    });
    this.finish();
    await probing;
  }

  /** Changes and deletes what has arrived, until it is told to finish. */
  async edit(): Promise<void> {
    await Promise.all([this.probe(), this.followLoading(), times(EDITORS, (editor) => this.editAs(editor))]);
  }

  private async editAs(editor: number): Promise<void> {
    for (let turn = editor; !this.finishing; turn++) {
      const edits = Array.from({ length: EDITS_PER_TRANSACTION }, () => this.chooseEdit());
      if (this.lastId > 0) {
        await this.meter.timed(() =>
          turn % NOTE_EVERY === 0
            ? this.places.note(this.name, `turn ${turn} of editor ${editor}`)
            : this.places.edit(this.name, edits),
        );
      }
      await sleep(EDIT_PAUSE_MS);
    }
  }

  private async followLoading(): Promise<void> {
    while (!this.finishing) {
      this.lastId = await this.places.lastId();
      await sleep(100);
    }
  }

  /** Half of the edits go to the places that all nodes edit. */
  private chooseEdit(): Edit {
    const id = 1 + random(Math.random() < 0.5 ? Math.min(this.lastId, CONTESTED_PLACES) : this.lastId);
    const choice = random(10);
    if (choice === 0 && id > CONTESTED_PLACES / 2) return { what: 'delete', id };
    if (choice < 5) return { what: 'rename', id, name: `${this.name} was here ${random(1_000_000)}` };
    return { what: 'move', id, lat: Math.random() / 100, lng: -Math.random() / 100 };
  }

  /** A small transaction now and then, by which the lag is measured. */
  private async probe(): Promise<void> {
    while (!this.finishing) {
      this.meter.noteProbe(await this.meter.timed(() => this.places.probe(this.name)));
      await sleep(PROBE_PAUSE_MS);
    }
  }
}

function random(below: number): number {
  return Math.floor(Math.random() * below);
}

async function times(count: number, work: (index: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, index) => work(index)));
}
