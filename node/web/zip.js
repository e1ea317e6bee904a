// Many files as one: a ZIP archive that is put together without being copied. It names the files' own bytes, so it costs
// neither memory nor room. Stored as they are, for what is worth compressing mostly is already.

import { lengthened } from "./messages.js";

const TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  for (let bit = 0; bit < 8; bit++) i = i & 1 ? (i >>> 1) ^ 0xedb88320 : i >>> 1;
  return i;
});

/** The checksum of ZIP archives, over bytes as they come. */
export class Crc32 {
  #value = 0xffffffff;

  update(bytes) {
    let value = this.#value;
    for (let i = 0; i < bytes.length; i++) value = TABLE[(value ^ bytes[i]) & 255] ^ (value >>> 8);
    this.#value = value;
  }

  get value() {
    return (this.#value ^ 0xffffffff) >>> 0;
  }
}

const LARGE = 0xffffffff;
const MANY = 0xffff;
/** Names are UTF-8. */
const FLAGS = 0x800;
const VERSION = 45;

/** Little-endian fields: pairs of a size in bytes and a value. */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else if (size === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

/** A time as DOS wrote it, two seconds exact. */
function moment(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  return [
    [2, time],
    [2, day],
  ];
}

/** Names of which no two are alike, even where capitals do not count. */
function distinct(names) {
  const taken = new Set();
  return names.map((name) => {
    const [, stem, type = ""] = name.match(/^(.+?)(\.[^.]{0,32})?$/s) ?? [, name];
    let free = name;
    for (let i = 2; taken.has(free.toLowerCase()); i++) free = lengthened(stem, ` (${i})`, type);
    taken.add(free.toLowerCase());
    return free;
  });
}

/** An archive of `{ name, size, crc32, blob }`s. `large` is there for tests: from that size on the fields are 64 bits wide. */
export function zip(files, { now = new Date(), large = LARGE } = {}) {
  const names = distinct(files.map(({ name }) => name)).map((name) => new TextEncoder().encode(name));
  const parts = [];
  const directory = [];
  let at = 0;
  const add = (part) => {
    parts.push(part);
    at += part.length ?? part.size;
  };
  files.forEach(({ size, crc32, blob }, i) => {
    const name = names[i];
    const [wide, far] = [size >= large, at >= large];
    const [short, sizes] = [wide ? LARGE : size, wide ? [[8, size], [8, size]] : []];
    const common = [[2, FLAGS], [2, 0], ...moment(now), [4, crc32], [4, short], [4, short], [2, name.length]];
    const local = wide ? record([2, 1], [2, 16], ...sizes) : new Uint8Array();
    const places = [...sizes, ...(far ? [[8, at]] : [])];
    const extra = places.length ? record([2, 1], [2, 8 * places.length], ...places) : new Uint8Array();
    directory.push(
      record([4, 0x02014b50], [2, VERSION], [2, VERSION], ...common, [2, extra.length], [2, 0], [2, 0], [2, 0], [4, 0], [4, far ? LARGE : at]),
      name,
      extra,
    );
    add(record([4, 0x04034b50], [2, VERSION], ...common, [2, local.length]));
    add(name);
    add(local);
    add(blob);
  });
  const [begin, count] = [at, files.length];
  directory.forEach(add);
  const length = at - begin;
  if (count >= MANY || begin >= large || length >= large) {
    const end = at;
    add(record([4, 0x06064b50], [8, 44], [2, VERSION], [2, VERSION], [4, 0], [4, 0], [8, count], [8, count], [8, length], [8, begin]));
    add(record([4, 0x07064b50], [4, 0], [8, end], [4, 1]));
  }
  const [few, short, near] = [Math.min(count, MANY), length >= large ? LARGE : length, begin >= large ? LARGE : begin];
  add(record([4, 0x06054b50], [2, 0], [2, 0], [2, few], [2, few], [4, short], [4, near], [2, 0]));
  return new Blob(parts, { type: "application/zip" });
}
