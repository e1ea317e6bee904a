// Files as a row of records, counted alike on both sides. From any position on, record i holds the same bytes however
// it travels, so a run can begin where another one broke off.

import { RECORD_OVERHEAD } from "./seal.js";
import { Sha256 } from "./sha256.js";
import { CHUNK_BYTES } from "./transfers.js";
import { Crc32 } from "./zip.js";

const DATA = 0;
const END = 1;
/** File bytes in one record, so that a sealed record fills one chunk. */
const DATA_BYTES = CHUNK_BYTES - RECORD_OVERHEAD - 1;
/** What is read at once, about 1 MiB: every read asks another process. The next piece is read meanwhile. */
const PIECE_BYTES = 21 * DATA_BYTES;

const recordsFrom = (size, offset) => Math.ceil((size - offset) / DATA_BYTES) + 1;

/** How many records there are from `at` (a file's number and an offset in it) to the end. */
export const count = (sizes, at) =>
  sizes.slice(at.file).reduce((sum, size, i) => sum + recordsFrom(size, i ? 0 : at.offset), 0);

/** How many bytes of all files the other side has, `number` records into the run from `at` on. */
export function bytesBefore(sizes, at, number) {
  let bytes = sizes.slice(0, at.file).reduce((sum, size) => sum + size, at.offset);
  for (let { file, offset } = at, left = number; file < sizes.length && left > 0; file++, offset = 0) {
    bytes += Math.min(left * DATA_BYTES, sizes[file] - offset);
    left -= recordsFrom(sizes[file], offset);
  }
  return bytes;
}

/** Reads files as records. One for a pairing: it remembers the digests over several runs. */
export class Reader {
  #files;
  // Of each file: the digest of its first `done` bytes.
  #digests;
  // The piece that records are cut from, and the one after it: `{ file, offset, bytes }`.
  #piece = null;
  #next = null;
  #reading = Promise.resolve();

  constructor(files) {
    this.#files = files;
    this.#digests = files.map(() => ({ hash: new Sha256(), done: 0, hex: null }));
  }

  /** Record `number` of the run from `at` on. Within a run, to be asked for in ascending order. */
  read(at, number) {
    const record = this.#reading.then(() => this.#numbered(at, number));
    this.#reading = record.catch(() => {});
    return record;
  }

  async #numbered(at, number) {
    let { file, offset } = at;
    for (let left = number; ; file++, offset = 0) {
      const records = recordsFrom(this.#files[file].size, offset);
      if (left < records) return this.#record(file, offset + left * DATA_BYTES, left === records - 1);
      left -= records;
    }
  }

  async #record(file, offset, last) {
    const digest = this.#digests[file];
    if (last) {
      await this.#digestTo(file, this.#files[file].size);
      digest.hex ??= digest.hash.hex();
      const text = new TextEncoder().encode(JSON.stringify({ sha256: digest.hex }));
      return Uint8Array.of(END, ...text);
    }
    await this.#digestTo(file, offset);
    const bytes = await this.#slice(file, offset);
    if (digest.done === offset) {
      digest.hash.update(bytes);
      digest.done += bytes.length;
    }
    const record = new Uint8Array(bytes.length + 1);
    record[0] = DATA;
    record.set(bytes, 1);
    return record;
  }

  /** The other side may be further than this one remembers having read. */
  async #digestTo(file, offset) {
    const digest = this.#digests[file];
    while (digest.done < offset) {
      const bytes = await this.#slice(file, digest.done, offset);
      digest.hash.update(bytes);
      digest.done += bytes.length;
    }
  }

  /** The record's bytes from `offset` on; throws where the file has become shorter, for nothing would ever come. */
  async #slice(file, offset, end = this.#files[file].size) {
    const holds = (piece) =>
      piece?.file === file && piece.offset <= offset && offset + DATA_BYTES <= piece.offset + PIECE_BYTES;
    if (!holds(this.#piece)) {
      this.#piece = holds(this.#next) ? this.#next : this.#load(file, offset);
      this.#next = this.#load(file, this.#piece.offset + PIECE_BYTES);
    }
    const { bytes, offset: from } = this.#piece;
    const to = Math.min(offset + DATA_BYTES, end);
    const slice = (await bytes).subarray(offset - from, to - from);
    if (slice.length < to - offset) throw new Error("the file is shorter than it was");
    return slice;
  }

  #load(file, offset) {
    if (offset >= this.#files[file].size) return null;
    const slice = this.#files[file].slice(offset, offset + PIECE_BYTES);
    const bytes = slice.arrayBuffer().then((buffer) => new Uint8Array(buffer));
    // A failure is told when the piece's turn comes.
    bytes.catch(() => {});
    return { file, offset, bytes };
  }
}

/** Writes records into files, and knows how far it is. */
export class Writer {
  #files;
  #sinks;
  #hash = new Sha256();
  #crc = new Crc32();

  /** `files` are `{ name, size }`; `open(file)` makes a sink for one. */
  constructor(files, open) {
    this.#files = files;
    this.#sinks = { open, now: null };
    /** Where the next run must begin. */
    this.at = { file: 0, offset: 0 };
    /** Bytes written over all files. */
    this.done = 0;
    /** What became of the files so far: `{ name, size, sha256, crc32, blob }`. */
    this.finished = [];
  }

  get complete() {
    return this.at.file === this.#files.length;
  }

  async write(record) {
    const file = this.#files[this.at.file];
    const body = record.subarray(1);
    this.#sinks.now ??= await this.#sinks.open(file);
    if (record[0] === DATA) {
      if (this.at.offset + body.length > file.size) throw new Error("a file is longer than was announced");
      await this.#sinks.now.write(body);
      this.#hash.update(body);
      // An archive is made of several files alone.
      if (this.#files.length > 1) this.#crc.update(body);
      this.at = { file: this.at.file, offset: this.at.offset + body.length };
      this.done += body.length;
      return;
    }
    const { sha256 } = JSON.parse(new TextDecoder().decode(body));
    if (this.at.offset !== file.size || this.#hash.hex() !== sha256) throw new Damaged(file.name);
    const crc32 = this.#crc.value;
    this.finished.push({ ...file, sha256, crc32, blob: await this.#sinks.now.finish() });
    this.#hash = new Sha256();
    this.#crc = new Crc32();
    this.#sinks.now = null;
    this.at = { file: this.at.file + 1, offset: 0 };
  }

  async abandon() {
    await this.#sinks.now?.abandon();
  }
}

/** What arrived is not what was sent. */
export class Damaged extends Error {
  constructor(name) {
    super(`${name} did not arrive as it was sent`);
  }
}
