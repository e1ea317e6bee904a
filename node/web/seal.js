// Keys and ciphers. Everything comes from the code's secret part; nothing here ever leaves the page in the clear.

// What one guess at a secret costs whoever has ciphertext to try it on.
const ROUNDS = 600_000;
const TAG_BYTES = 16;

const utf8 = (text) => new TextEncoder().encode(text);
export const toBase64 = (bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};
export const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/** The root of all keys of a code. Slow on purpose. */
export async function root({ invite, secret }) {
  const typed = await crypto.subtle.importKey("raw", utf8(secret), "PBKDF2", false, ["deriveBits"]);
  const salt = utf8(`conclave send 1 ${invite}`);
  const bits = await crypto.subtle.deriveBits(
    { name: "PBKDF2", hash: "SHA-256", salt, iterations: ROUNDS },
    typed,
    256,
  );
  return crypto.subtle.importKey("raw", bits, "HKDF", false, ["deriveKey", "deriveBits"]);
}

const hkdf = (salt, purpose) => ({ name: "HKDF", hash: "SHA-256", salt, info: utf8(purpose) });

/** A key for one purpose alone. */
export const key = (root, salt, purpose) =>
  crypto.subtle.deriveKey(hkdf(salt, purpose), root, { name: "AES-GCM", length: 256 }, false, [
    "encrypt",
    "decrypt",
  ]);

/** A name that nobody can guess and both sides know. */
export const name = async (root, salt, purpose) =>
  toBase64(new Uint8Array(await crypto.subtle.deriveBits(hkdf(salt, purpose), root, 256)));

/** Numbers of letters that are remembered, of each sender. */
const REMEMBERED = 4096;
/** The number of a letter after which its sender writes no more. */
const LAST = Number.MAX_SAFE_INTEGER;

/**
 * Small JSON messages between the two pages, sealed; a repeated or reflected one does not open. One that was overtaken by
 * others does.
 */
export class Letters {
  #out;
  #in;
  #sent = 0;
  // Of each sender: the numbers that were seen, and below which none is taken any more.
  #seen = new Map();

  /** `me` and `you` are "sender" and "receiver", in either order. */
  static async between(root, me, you) {
    const letters = new Letters();
    const none = new Uint8Array();
    letters.#out = await key(root, none, `letters from the ${me}`);
    letters.#in = await key(root, none, `letters from the ${you}`);
    return letters;
  }

  async seal(from, to, type, body, { last = false } = {}) {
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const additionalData = utf8(JSON.stringify([from, to, type]));
    const text = utf8(JSON.stringify({ n: last ? LAST : ++this.#sent, body }));
    const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData }, this.#out, text);
    return { v: 1, iv: toBase64(iv), ct: toBase64(new Uint8Array(sealed)) };
  }

  /** The letter's body; null if it was opened before; throws if it was not sealed with these keys. */
  async open(from, to, type, { iv, ct }) {
    const additionalData = utf8(JSON.stringify([from, to, type]));
    const algorithm = { name: "AES-GCM", iv: fromBase64(iv), additionalData };
    const text = await crypto.subtle.decrypt(algorithm, this.#in, fromBase64(ct));
    const { n, body } = JSON.parse(new TextDecoder().decode(text));
    const seen = this.#seen.get(from) ?? { numbers: new Set(), from: 0 };
    if (!(n > seen.from) || seen.numbers.has(n)) return null;
    this.#seen.set(from, seen);
    seen.numbers.add(n);
    if (seen.numbers.size > REMEMBERED) {
      seen.from = Math.min(...seen.numbers);
      seen.numbers.delete(seen.from);
    }
    return body;
  }
}

/** Bytes that sealing adds to a record. */
export const RECORD_OVERHEAD = TAG_BYTES;

/** The records of one run: each is sealed under its number, so none can be left out, repeated or moved. */
export class Records {
  #key;

  constructor(key) {
    this.#key = key;
  }

  #algorithm(number) {
    const iv = new Uint8Array(12);
    // A run's key is its own and a number is used once in it, so a nonce never serves twice.
    new DataView(iv.buffer).setUint32(8, number);
    return { name: "AES-GCM", iv, additionalData: iv };
  }

  async seal(number, bytes) {
    return new Uint8Array(await crypto.subtle.encrypt(this.#algorithm(number), this.#key, bytes));
  }

  async open(number, bytes) {
    return new Uint8Array(await crypto.subtle.decrypt(this.#algorithm(number), this.#key, bytes));
  }
}
