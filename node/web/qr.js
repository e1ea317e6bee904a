// QR codes (ISO/IEC 18004): bytes, error correction level M, versions 1 to 10, which hold up to 213 bytes.

// Of each version: bytes of correction in a block, then the number of blocks and the data bytes in each, twice where
// blocks differ by one byte.
const VERSIONS = [
  [10, 1, 16],
  [16, 1, 28],
  [26, 1, 44],
  [18, 2, 32],
  [24, 2, 43],
  [16, 4, 27],
  [18, 4, 31],
  [22, 2, 38, 2, 39],
  [22, 3, 36, 2, 37],
  [26, 4, 43, 1, 44],
];
const ALIGNED = [
  [],
  [6, 18],
  [6, 22],
  [6, 26],
  [6, 30],
  [6, 34],
  [6, 22, 38],
  [6, 24, 42],
  [6, 26, 46],
  [6, 28, 50],
];

// The field GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1.
const EXP = new Uint8Array(512);
const LOG = new Uint8Array(256);
for (let i = 0, x = 1; i < 255; i++, x = (x << 1) ^ (x > 127 ? 0x11d : 0)) {
  EXP[i] = EXP[i + 255] = x;
  LOG[x] = i;
}
const times = (a, b) => (a && b ? EXP[LOG[a] + LOG[b]] : 0);

/** Reed-Solomon: the remainder of the data by the generator of that degree. */
function correction(data, degree) {
  let generator = [1];
  for (let i = 0; i < degree; i++) {
    const next = [...generator, 0];
    generator.forEach((factor, j) => (next[j + 1] ^= times(factor, EXP[i])));
    generator = next;
  }
  const rest = [...data, ...new Array(degree).fill(0)];
  for (let i = 0; i < data.length; i++) {
    const lead = rest[i];
    generator.forEach((factor, j) => (rest[i + j] ^= times(factor, lead)));
  }
  return rest.slice(data.length);
}

const sizesOf = ([, n1, d1, n2 = 0, d2 = 0]) => [...Array(n1).fill(d1), ...Array(n2).fill(d2)];

/** The words in the order in which they are drawn. */
function codewords(bytes, version) {
  const spec = VERSIONS[version - 1];
  const sizes = sizesOf(spec);
  const capacity = sizes.reduce((sum, size) => sum + size, 0);
  let bits = "0100" + bytes.length.toString(2).padStart(version < 10 ? 8 : 16, "0");
  for (const byte of bytes) bits += byte.toString(2).padStart(8, "0");
  bits += "0".repeat(Math.min(4, capacity * 8 - bits.length));
  bits += "0".repeat(-bits.length & 7);
  const data = bits.match(/.{8}/g).map((byte) => parseInt(byte, 2));
  for (let pad = 0xec; data.length < capacity; pad ^= 0xec ^ 0x11) data.push(pad);
  let at = 0;
  const blocks = sizes.map((size) => data.slice(at, (at += size)));
  const checks = blocks.map((block) => correction(block, spec[0]));
  const woven = [];
  for (const group of [blocks, checks]) {
    for (let i = 0; i < Math.max(...group.map((block) => block.length)); i++) {
      for (const block of group) if (i < block.length) woven.push(block[i]);
    }
  }
  return woven;
}

const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (((x / 3) | 0) + ((y / 2) | 0)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** `value` followed by its remainder by a binary polynomial of that degree. */
function guarded(value, polynomial, degree) {
  let rest = value << degree;
  for (let bit = 31; bit >= degree; bit--) if ((rest >>> bit) & 1) rest ^= polynomial << (bit - degree);
  return (value << degree) | rest;
}

/** A square of modules: `dark[y][x]`, with what may not be masked in `fixed`. */
class Square {
  constructor(version) {
    this.version = version;
    this.size = 17 + 4 * version;
    this.dark = Array.from({ length: this.size }, () => new Array(this.size).fill(false));
    this.fixed = Array.from({ length: this.size }, () => new Array(this.size).fill(false));
  }

  fix(x, y, dark) {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return;
    this.dark[y][x] = Boolean(dark);
    this.fixed[y][x] = true;
  }

  patterns() {
    const end = this.size - 1;
    for (let i = 0; i <= end; i++) {
      this.fix(i, 6, i % 2 === 0);
      this.fix(6, i, i % 2 === 0);
    }
    for (const [cx, cy] of [
      [3, 3],
      [end - 3, 3],
      [3, end - 3],
    ]) {
      for (let dy = -4; dy <= 4; dy++) {
        for (let dx = -4; dx <= 4; dx++) {
          const ring = Math.max(Math.abs(dx), Math.abs(dy));
          this.fix(cx + dx, cy + dy, ring !== 2 && ring !== 4);
        }
      }
    }
    const centres = ALIGNED[this.version - 1];
    const last = centres.length - 1;
    centres.forEach((cy, i) =>
      centres.forEach((cx, j) => {
        if ((i === 0 && (j === 0 || j === last)) || (i === last && j === 0)) return;
        for (let dy = -2; dy <= 2; dy++) {
          for (let dx = -2; dx <= 2; dx++)
            this.fix(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
        }
      }),
    );
    this.format(0);
    if (this.version < 7) return;
    const bits = guarded(this.version, 0x1f25, 12);
    for (let i = 0; i < 18; i++) {
      const [a, b] = [end - 10 + (i % 3), (i / 3) | 0];
      this.fix(a, b, (bits >>> i) & 1);
      this.fix(b, a, (bits >>> i) & 1);
    }
  }

  /** Level M (its bits are 00) and the mask, written twice. */
  format(mask) {
    const bits = guarded(mask, 0x537, 10) ^ 0x5412;
    const bit = (i) => (bits >>> i) & 1;
    const end = this.size - 1;
    for (let i = 0; i <= 5; i++) this.fix(8, i, bit(i));
    this.fix(8, 7, bit(6));
    this.fix(8, 8, bit(7));
    this.fix(7, 8, bit(8));
    for (let i = 9; i < 15; i++) this.fix(14 - i, 8, bit(i));
    for (let i = 0; i < 8; i++) this.fix(end - i, 8, bit(i));
    for (let i = 8; i < 15; i++) this.fix(8, end - 14 + i, bit(i));
    this.fix(8, end - 7, true);
  }

  /** Two columns at a time from the right, up and down in turns. */
  draw(words) {
    let i = 0;
    for (let right = this.size - 1; right > 0; right -= 2) {
      if (right === 6) right = 5;
      const up = ((right + 1) & 2) === 0;
      for (let step = 0; step < this.size; step++) {
        const y = up ? this.size - 1 - step : step;
        for (const x of [right, right - 1]) {
          if (this.fixed[y][x]) continue;
          this.dark[y][x] = Boolean((words[i >>> 3] >>> (7 - (i & 7))) & 1);
          i++;
        }
      }
    }
  }

  masked(mask) {
    const other = new Square(this.version);
    other.fixed = this.fixed.map((row) => [...row]);
    other.dark = this.dark.map((row, y) =>
      row.map((dark, x) => dark !== (!this.fixed[y][x] && MASKS[mask](x, y))),
    );
    other.format(mask);
    return other;
  }

  /** How hard it is to read: long runs, blocks, false finders, and more of one colour. */
  penalty() {
    const { size, dark } = this;
    let sum = 0;
    const columns = dark.map((_, x) => dark.map((row) => row[x]));
    for (const line of [...dark, ...columns]) {
      const text = line.map(Number).join("");
      for (const run of text.match(/0{5,}|1{5,}/g) ?? []) sum += run.length - 2;
      sum += 40 * (text.match(/(?=00001011101|10111010000)/g) ?? []).length;
    }
    for (let y = 1; y < size; y++) {
      for (let x = 1; x < size; x++) {
        const same = dark[y][x] === dark[y - 1][x] && dark[y][x] === dark[y][x - 1];
        if (same && dark[y][x] === dark[y - 1][x - 1]) sum += 3;
      }
    }
    const share = dark.flat().filter(Boolean).length / (size * size);
    return sum + 10 * Math.floor(Math.abs(share - 0.5) * 20);
  }
}

/** The modules of a text's QR code, as rows of booleans; null if it is too long. */
export function qr(text) {
  const bytes = new TextEncoder().encode(text);
  const fits = (spec, i) =>
    sizesOf(spec).reduce((sum, size) => sum + size, 0) >= bytes.length + (i < 9 ? 2 : 3);
  const version = VERSIONS.findIndex(fits) + 1;
  if (!version) return null;
  const square = new Square(version);
  square.patterns();
  square.draw(codewords(bytes, version));
  const drawn = MASKS.map((_, mask) => square.masked(mask));
  return drawn.reduce((best, next) => (next.penalty() < best.penalty() ? next : best)).dark;
}
