// Where received files go until they are saved: the browser's private file system, so that memory stays free; small ones,
// and where there is none, memory. Nothing of it outlives the page: each page has a folder of its own, and holds a lock by
// its name as long as it is open. A folder whose lock is free is what an earlier page left behind.

import { sleep } from "./errors.js";

const PREFIX = "conclave-received-";
/** What a browser tab can be trusted to hold. */
const MEMORY_BYTES_MAX = 1 << 30;
/** Files up to this size are held in memory, until they are so many bytes together. */
const SMALL_BYTES = 256 << 10;
const SMALL_BYTES_TOTAL = 128 << 20;
/** What is written to disk at once: every write asks another process. One is under way while the next one is gathered. */
const WRITE_BYTES = 1 << 20;

let own = null;

const top = () => navigator.storage.getDirectory();

/** This page's folder, made when it is first needed. */
function folder() {
  own ??= (async () => {
    const name = PREFIX + crypto.randomUUID();
    let leave;
    const left = new Promise((resolve) => (leave = resolve));
    await new Promise((resolve, reject) => {
      if (!navigator.locks) return resolve();
      // Where site data is blocked there are no locks, as there are no files.
      navigator.locks.request(name, () => (resolve(), left)).catch(reject);
    });
    return { name, handle: await (await top()).getDirectoryHandle(name, { create: true }), leave };
  })();
  own.catch(() => (own = null));
  return own;
}

/** Removes what earlier pages left behind, and what other open ones will, once they are closed. */
export async function sweep() {
  try {
    const root = await top();
    for await (const name of root.keys()) {
      const remove = () => root.removeEntry(name, { recursive: true }).catch(() => {});
      // The folder of all pages that an earlier version had.
      if (name === "conclave-received") await remove();
      else if (name.startsWith(PREFIX) && name !== (await own)?.name) {
        if (navigator.locks) void navigator.locks.request(name, remove).catch(() => {});
        else await remove();
      }
    }
  } catch {
    // There is no such file system here, and nothing to sweep.
  }
}

/** Removes what this page has received, after a while that the browser may need to copy it. What comes now stays. */
export async function clear(afterMs = 0) {
  const mine = own;
  own = null;
  try {
    const { name, leave } = await mine;
    await sleep(afterMs);
    await (await top()).removeEntry(name, { recursive: true });
    leave();
  } catch {
    // Nothing was received, or the browser still reads it: the next visit removes it.
  }
}

/**
 * How to open a sink for each of these files, if there is room for all: on disk, else in memory. Throws `TooLarge` before
 * a byte has come.
 */
export async function roomFor(files) {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  if (bytes > SMALL_BYTES && (await diskHas(bytes))) {
    let small = 0;
    return async ({ size }) => {
      if (size > SMALL_BYTES || small + size > SMALL_BYTES_TOTAL) return onDisk();
      small += size;
      return inMemory();
    };
  }
  if (bytes > MEMORY_BYTES_MAX) throw new TooLarge();
  return async () => inMemory();
}

/**
 * Whether the browser lets a file grow so large. Its `estimate()` does not say: a private window of Chromium names 4 GiB
 * and takes 1.4 GB. Nothing is written.
 */
async function diskHas(bytes) {
  try {
    const { handle: place } = await folder();
    const stream = await (await place.getFileHandle("room", { create: true })).createWritable();
    try {
      await stream.truncate(bytes);
      return true;
    } finally {
      await stream.abort().catch(() => {});
      await place.removeEntry("room").catch(() => {});
    }
  } catch {
    // No such file system, or too little room in it.
    return false;
  }
}

async function onDisk() {
  const { handle: place } = await folder();
  const name = crypto.randomUUID();
  const handle = await place.getFileHandle(name, { create: true });
  const stream = await handle.createWritable();
  const remove = () => place.removeEntry(name).catch(() => {});
  const pieces = gathered((bytes) => stream.write(bytes));
  return {
    write: pieces.write,
    finish: async () => {
      await pieces.finish();
      await stream.close();
      return handle.getFile();
    },
    abandon: () =>
      stream
        .abort()
        .catch(() => {})
        .then(remove),
  };
}

/** Gathers `size` bytes at a time for `put`, called again once it is done. A failure is told at the next call. */
export function gathered(put, size = WRITE_BYTES) {
  let [piece, held, putting] = [new Uint8Array(size), 0, Promise.resolve()];
  const hand = async () => {
    await putting;
    putting = put(piece.subarray(0, held));
    putting.catch(() => {});
    [piece, held] = [new Uint8Array(size), 0];
  };
  return {
    write: async (bytes) => {
      for (let at = 0; at < bytes.length;) {
        if (held === size) await hand();
        const part = bytes.subarray(at, at + size - held);
        piece.set(part, held);
        held += part.length;
        at += part.length;
      }
    },
    finish: async () => {
      if (held) await hand();
      await putting;
    },
  };
}

function inMemory() {
  let parts = [];
  return {
    write: async (bytes) => void parts.push(bytes.slice()),
    finish: async () => new Blob(parts),
    abandon: async () => void (parts = []),
  };
}

/** This browser can't keep a file of that size. */
export class TooLarge extends Error {}
