// Where received files go until they are saved: the browser's private file system, so that memory stays free; small ones,
// and where there is none, memory. Nothing of it outlives the page: each page has a folder of its own, and holds a lock by
// its name as long as it is open. A folder whose lock is free is what an earlier page left behind.

import { sleep } from "./errors.js";

const PREFIX = "conclave-received-";
/** What a browser tab can be trusted to hold. */
export const MEMORY_BYTES_MAX = 1 << 30;
/** Files up to this size are held in memory, until they are so many bytes together. */
const SMALL_BYTES = 256 << 10;
const SMALL_BYTES_TOTAL = 128 << 20;

let own = null;
let small = 0;

const top = () => navigator.storage.getDirectory();

/** This page's folder, made when it is first needed. */
function folder() {
  own ??= (async () => {
    const name = PREFIX + crypto.randomUUID();
    let leave;
    const left = new Promise((resolve) => (leave = resolve));
    await new Promise((resolve) => {
      if (!navigator.locks) return resolve();
      void navigator.locks.request(name, () => (resolve(), left));
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
  small = 0;
  try {
    const { name, leave } = await mine;
    await sleep(afterMs);
    await (await top()).removeEntry(name, { recursive: true });
    leave();
  } catch {
    // Nothing was received, or the browser still reads it: the next visit removes it.
  }
}

/** A sink for one file. */
export async function open(file) {
  if (file.size <= SMALL_BYTES && small + file.size <= SMALL_BYTES_TOTAL) {
    small += file.size;
    return inMemory();
  }
  try {
    return await onDisk();
  } catch {
    if (file.size > MEMORY_BYTES_MAX) throw new TooLarge();
    return inMemory();
  }
}

async function onDisk() {
  const { handle: place } = await folder();
  const name = crypto.randomUUID();
  const handle = await place.getFileHandle(name, { create: true });
  const stream = await handle.createWritable();
  const remove = () => place.removeEntry(name).catch(() => {});
  return {
    write: (bytes) => stream.write(bytes),
    finish: async () => {
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
