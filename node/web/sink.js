// Where received files go until they are saved: the browser's private file system, so that memory stays free; where
// there is none, memory.

const FOLDER = "conclave-received";
/** What a browser tab can be trusted to hold. */
export const MEMORY_BYTES_MAX = 1 << 30;

async function folder() {
  const top = await navigator.storage.getDirectory();
  return top.getDirectoryHandle(FOLDER, { create: true });
}

/** Removes what earlier visits left behind. Another tab's open files stay: the browser holds them locked. */
export async function sweep() {
  try {
    const found = await folder();
    for await (const name of found.keys()) {
      // Files are named by the hour; those of the last one may be another tab's.
      if (Number(name.split("-")[0]) < hour() - 24) await found.removeEntry(name).catch(() => {});
    }
  } catch {
    // There is no such file system here, and nothing to sweep.
  }
}

const hour = () => Math.floor(Date.now() / 3_600_000);

/** A sink for one file. */
export async function open(file) {
  try {
    return await onDisk();
  } catch {
    if (file.size > MEMORY_BYTES_MAX) throw new TooLarge();
    return inMemory();
  }
}

async function onDisk() {
  const place = await folder();
  const name = `${hour()}-${crypto.randomUUID()}`;
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
