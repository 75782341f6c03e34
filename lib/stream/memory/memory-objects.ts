import { randomBytes } from 'node:crypto';
import { OBJECT_CHUNK, ObjectGone } from '../object-store.js';
import type { ObjectInfo, ObjectUpload } from '../object-store.js';
import { inChunks, ObjectDigest } from '../object-digest.js';

interface StoredObject {
  readonly info: ObjectInfo;
  readonly chunks: Buffer[];
  readonly previous: string | undefined;
}

/** The objects of one bucket in memory. */
export class MemoryObjects {
  private readonly live = new Map<string, StoredObject>();
  private readonly bytes = new Map<string, Buffer[]>();
  private readonly uploads = new Map<string, { readonly name: string }>();
  private revision = 0;

  constructor(private readonly now: () => number) {}

  info(name: string): ObjectInfo | undefined {
    return this.live.get(name)?.info;
  }

  /** Names of all objects. */
  get names(): string[] {
    return [...this.live.keys()];
  }

  /** @param step Called before each piece is stored; what it throws ends the upload. */
  async put(upload: ObjectUpload, step: () => Promise<void>): Promise<ObjectInfo | undefined> {
    const { name, headers, data, revision } = upload;
    if ((this.live.get(name)?.info.revision ?? 0) !== revision) return undefined;
    const before = this.live.get(name);
    if (before?.previous !== undefined) this.bytes.delete(before.previous);
    const id = randomBytes(11).toString('hex');
    const chunks: Buffer[] = [];
    this.bytes.set(id, chunks);
    this.uploads.set(id, { name });
    const digest = new ObjectDigest();
    for await (const piece of inChunks(data, OBJECT_CHUNK)) {
      await step();
      digest.add(piece);
      chunks.push(Buffer.from(piece));
    }
    await step();
    const dead = [...this.uploads]
      .filter(([other, each]) => other !== id && each.name === name)
      .map(([other]) => other);
    if ((this.live.get(name)?.info.revision ?? 0) !== revision) {
      this.forget(id);
      return undefined;
    }
    const size = digest.size;
    const info: ObjectInfo = {
      name,
      size,
      digest: digest.end(),
      headers: { ...headers },
      revision: ++this.revision,
      stored: this.now(),
      id,
      chunks: chunks.length,
    };
    this.uploads.delete(id);
    this.live.set(name, { info, chunks, previous: before?.info.id });
    for (const other of dead) this.forget(other);
    return info;
  }

  /** @param step Called before each piece. */
  async *read(info: ObjectInfo, step: () => Promise<void>): AsyncGenerator<Buffer> {
    const digest = new ObjectDigest();
    for (let index = 0; index < info.chunks; index++) {
      await step();
      const piece = this.bytes.get(info.id)?.[index];
      if (piece === undefined) throw new ObjectGone(`'${info.name}' was replaced`);
      digest.add(piece);
      yield Buffer.from(piece);
    }
    digest.verify(info);
  }

  delete(name: string, revision: number): boolean {
    const object = this.live.get(name);
    if ((object?.info.revision ?? 0) !== revision) return false;
    this.revision++;
    this.live.delete(name);
    if (object === undefined) return true;
    this.bytes.delete(object.info.id);
    if (object.previous !== undefined) this.bytes.delete(object.previous);
    return true;
  }

  /** Changes a byte of an object, as a broken disk would. */
  damage(name: string): void {
    const first = this.live.get(name)?.chunks[0];
    if (first === undefined) throw new RangeError(`There is no object '${name}'.`);
    first[first.length >> 1] = (first[first.length >> 1] as number) ^ 0xff;
  }

  private forget(id: string): void {
    this.uploads.delete(id);
    this.bytes.delete(id);
  }
}
