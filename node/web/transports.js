// The two ways on which records travel: straight from device to device, or through the cluster's relay.

import { name } from "./seal.js";

/** Records that may be under way before the other side has said that it has them: 12 MiB. */
const WINDOW = 256;
/** Bytes that wait in the browser for the network. */
const BUFFERED_HIGH = 2 << 20;
const BUFFERED_LOW = 512 << 10;
/** The receiver says how far it is after so many records. */
const TOLD_EVERY = 16;
/** Records that are sealed while the ones before are sent. */
const SEALED_AHEAD = 16;
/** Records of one relay transfer, and transfers that may wait in the cluster at once: 12 MiB again. */
const SEGMENT = 64;
const SEGMENTS_AHEAD = 4;

/** Something to wait for until it is rung. */
class Bell {
  #waiting = [];
  ring() {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }
  wait(signal) {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const abort = () => reject(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      this.#waiting.push({ resolve: () => (signal.removeEventListener("abort", abort), resolve()) });
    });
  }
}

// ---- straight: a data channel, which DTLS encrypts and the sealed signals vouch for; the records are sealed besides

/** Sends `total` records; `seal(i)` gives the sealed record i. Ends when the other side has them all. */
export async function sendDirect(channel, { run, total, seal, onreceived, signal }) {
  const bell = new Bell();
  let received = 0;
  const stop = new AbortController();
  const within = AbortSignal.any([signal, stop.signal]);
  const hear = ({ data }) => {
    const word = typeof data === "string" ? JSON.parse(data) : {};
    if (word.run !== run) return;
    received = word.received;
    onreceived(received);
    bell.ring();
  };
  const ring = () => bell.ring();
  const gone = () => stop.abort(new Error("the direct connection is gone"));
  channel.bufferedAmountLowThreshold = BUFFERED_LOW;
  channel.addEventListener("message", hear);
  channel.addEventListener("bufferedamountlow", ring);
  channel.addEventListener("close", gone);
  try {
    const sealing = [];
    for (let i = 0; i < total; i++) {
      for (let next = i + sealing.length; next < total && sealing.length < SEALED_AHEAD; next++) {
        const sealed = seal(next);
        sealed.catch(() => {});
        sealing.push(sealed);
      }
      const record = await sealing.shift();
      while (i - received >= WINDOW || channel.bufferedAmount > BUFFERED_HIGH) await bell.wait(within);
      within.throwIfAborted();
      const message = new Uint8Array(4 + record.length);
      new DataView(message.buffer).setUint32(0, run);
      message.set(record, 4);
      channel.send(message);
    }
    while (received < total) await bell.wait(within);
  } finally {
    channel.removeEventListener("message", hear);
    channel.removeEventListener("bufferedamountlow", ring);
    channel.removeEventListener("close", gone);
  }
}

/** Receives `total` records: `open(i, record)` opens each as it comes, `take(record)` gets them in their order. */
export async function receiveDirect(channel, { run, total, open, take, signal }) {
  const bell = new Bell();
  // The sender's window bounds it.
  const queue = [];
  let come = 0;
  const stop = new AbortController();
  const within = AbortSignal.any([signal, stop.signal]);
  const hear = ({ data }) => {
    if (typeof data === "string" || new DataView(data).getUint32(0) !== run) return;
    if (queue.length > 2 * WINDOW) return stop.abort(new Error("the other side sends more than it may"));
    const opened = open(come++, new Uint8Array(data, 4));
    opened.catch(() => {});
    queue.push(opened);
    bell.ring();
  };
  const gone = () => stop.abort(new Error("the direct connection is gone"));
  channel.binaryType = "arraybuffer";
  channel.addEventListener("message", hear);
  channel.addEventListener("close", gone);
  try {
    for (let i = 1; i <= total; i++) {
      while (!queue.length) await bell.wait(within);
      await take(await queue.shift());
      within.throwIfAborted();
      if (i % TOLD_EVERY === 0 || i === total) channel.send(JSON.stringify({ run, received: i }));
    }
  } finally {
    channel.removeEventListener("message", hear);
    channel.removeEventListener("close", gone);
  }
}

// ---- through the relay: one transfer after the other, each of a few records, freed as soon as they have arrived

async function* segments(root, salt, run, total) {
  for (let first = 0; first < total; first += SEGMENT) {
    const purpose = `relay, run ${run}, from record ${first}`;
    const pin = await name(root, salt, `${purpose}: pin`);
    const passwordHash = await name(root, salt, `${purpose}: password`);
    yield { first, pin, passwordHash, total: Math.min(SEGMENT, total - first) };
  }
}

/** The same as `sendDirect`, through the relay. */
export async function sendRelayed(transfers, { root, salt, run, total, seal, onreceived, signal }) {
  const stop = new AbortController();
  const within = AbortSignal.any([signal, stop.signal]);
  const waiting = new Set();
  let uploaded = 0;
  const arrival = async (id) => {
    if (!(await transfers.acknowledged(id, { signal: within })))
      throw new Error("a part expired in the relay");
  };
  // On a slow line it is minutes until a whole segment has arrived; what is on its way counts.
  const onprogress = () => onreceived(Math.min(total, ++uploaded));
  try {
    for await (const { first, ...segment } of segments(root, salt, run, total)) {
      while (waiting.size >= SEGMENTS_AHEAD) await Promise.race(waiting);
      const chunk = (i) => seal(first + i);
      const id = await transfers.upload({ ...segment, chunk, onprogress, signal: within });
      const arrived = arrival(id).finally(() => waiting.delete(arrived));
      arrived.catch((error) => stop.abort(error));
      waiting.add(arrived);
    }
    await Promise.all(waiting);
  } catch (error) {
    stop.abort(error);
    throw error;
  }
}

/** The same as `receiveDirect`, through the relay. */
export async function receiveRelayed(transfers, { root, salt, run, total, open, take, onbytes, signal }) {
  for await (const { first, ...segment } of segments(root, salt, run, total)) {
    const sink = async (record, i) => take(await open(first + i, record));
    await transfers.download({ ...segment, sink, onbytes, signal });
  }
}
