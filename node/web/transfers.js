// Transfers: up to 2,048 chunks of up to 48 KiB, uploaded and downloaded over HTTP, several at a time, each checked
// against its SHA-256, resumed after a break on whatever node answers.
//
//   const transfers = new Transfers(await connect({ urls }));
//   const id = await transfers.upload({ pin, passwordHash, data: blob });
//
// Types and the meaning of each field: conclave.d.ts.

import { answer, ConclaveError, sleep } from "./conclave.js";
import { checkNames } from "./errors.js";

/** Bytes of one chunk at most. */
export const CHUNK_BYTES = 49152;
/** Chunks of one transfer at most. */
export const CHUNKS_MAX = 2048;

const LOOK_AGAIN_AFTER_MS = 100;
const ASK_EVERY_MS = 5000;
const DAMAGED_MAX = 3;
/** A body that breaks off is fetched again, so often in a row without a byte. */
const BROKEN_MAX = 20;
/** Chunks of one upload that the server may give up waiting for. */
const SLOW_MAX = 64;
/** A chunk that takes longer says that the line is full; one that takes less that there may be room. */
const SLOW_MS = 4000;
const QUICK_MS = 1500;

const contentDigest = async (bytes) => {
  if (!crypto.subtle)
    throw new ConclaveError("unavailable", "Transfers need a secure context: a page that came by https, or from localhost.");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha-256=:${btoa(String.fromCharCode(...digest))}:`;
};

const among = (ranges, i) => ranges.some(([first, last]) => first <= i && i <= last);

/**
 * How many chunks are under way at once. It begins with one and grows while chunks are quick: on a slow line several at
 * once would share it, and each would take longer than the server waits.
 */
class Crowd {
  #size = 1;

  /** The places there are, `max` at most. */
  places(max) {
    return Math.max(1, Math.min(max, this.#size));
  }

  took(ms, max) {
    if (ms > SLOW_MS) this.crowded();
    else if (ms < QUICK_MS) this.#size = Math.min(max, this.#size + 1);
  }

  crowded() {
    this.#size = Math.max(1, Math.floor(this.#size / 2));
  }
}

/** Something empty is one chunk of no bytes: a transfer has one at least. */
const chunks = (total) => (total === 0 ? 1 : total);

const checkTotal = (total) => {
  if (!Number.isInteger(total) || total < 1 || total > CHUNKS_MAX)
    throw new ConclaveError("invalid_input", `\`total\`: a transfer has 1 to ${CHUNKS_MAX} chunks.`);
};

const finished = (advice) =>
  new ConclaveError("transfer_finished", `The transfer was received and acknowledged already; ${advice}.`);
const takeAnotherPin = () => finished("take another pin for more data");

/** The transfers that one client takes part in. */
export class Transfers {
  #client;
  #up = new Crowd();
  #down = new Crowd();

  constructor(client) {
    this.#client = client;
  }

  async #call(method, path, options) {
    const reply = await this.#client.http(method, `/api/v1/transfers${path}`, options);
    return reply.ok ? reply : answer(reply);
  }

  /** For what its status tells all of: an answer that breaks off after it changes nothing. */
  async #done(method, path, options) {
    const reply = await this.#call(method, path, options);
    await reply.arrayBuffer().catch(() => {});
  }

  /** How a transfer is; nothing where it is gone. */
  #look(id, signal) {
    return this.state(id, { signal }).catch((error) => {
      if (error.status !== 404) throw error;
    });
  }

  /** Makes a transfer, or finds the one that lives under these words; its id is the right to use it. */
  async open({ pin, passwordHash, total, signal }) {
    checkNames({ pin, passwordHash });
    checkTotal(total);
    const body = JSON.stringify({ pin, passwordHash, totalChunks: total });
    return (await answer(this.#call("POST", "", { body, signal }))).transferId;
  }

  /**
   * How a transfer is: `received` chunks out of `total`, in `ranges`. `total` is 0 where nothing but its acknowledgement is
   * remembered.
   */
  async state(id, { signal } = {}) {
    checkNames({ id });
    const state = await answer(this.#call("GET", `/${id}`, { signal })).catch((error) => {
      if (!error.acknowledged) throw error;
      return { totalChunks: 0, received: [], delivered: 0, acknowledged: true };
    });
    const { totalChunks: total, received: ranges, ...rest } = state;
    const received = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
    return { ...rest, transfer: id, total, received, ranges, done: total > 0 && received === total };
  }

  /** Everything arrived: frees the chunks. */
  async acknowledge(id, { signal } = {}) {
    checkNames({ id });
    await this.#done("POST", `/${id}/ack`, { signal });
  }

  /** Waits until the other side has acknowledged a transfer: true, or false if it is gone before. */
  async acknowledged(id, { signal } = {}) {
    checkNames({ id });
    const news = new News(this.#client, id);
    try {
      for (;;) {
        news.look();
        const state = await this.#look(id, signal);
        // Of one that is gone, what was told last counts. One that is there may be another one, under the same words.
        if (!state) return news.acknowledged;
        if (state.acknowledged) return true;
        await news.of((now) => now.gone || now.acknowledged, signal);
      }
    } finally {
      news.end();
    }
  }

  /** Uploads what is not there yet. Returns the transfer's id. */
  async upload({ pin, passwordHash, data, total, chunk, concurrency = 6, onprogress, signal }) {
    if (data != null) {
      const blob = new Blob([data]);
      total = chunks(Math.ceil(blob.size / CHUNK_BYTES));
      chunk = (i) => blob.slice(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES).arrayBuffer();
    }
    if (typeof chunk !== "function")
      throw new ConclaveError("missing_fields", "An upload needs `data`, or `total` and a function `chunk`.");
    const id = await this.open({ pin, passwordHash, total, signal });
    const { ranges, received, acknowledged } = await this.state(id, { signal });
    if (acknowledged) throw takeAnotherPin();
    // One failure ends them all.
    const stop = new AbortController();
    const within = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    // One of those that are there is put again: the server takes the same bytes, and refuses others.
    const known = ranges.slice(0, 1).map(([first]) => first);
    let [next, done, over] = [0, received - known.length, false];
    // Whether what was there before is known to be the same bytes.
    let same = false;
    const [again, slow] = [[], []];
    // Asked for once each: what is sealed under a number must never be other bytes under the same one.
    const kept = new Map();
    const put = async (i) => {
      const body = kept.get(i) ?? (await chunk(i));
      kept.delete(i);
      within.throwIfAborted();
      const headers = { "content-digest": await contentDigest(body) };
      const began = performance.now();
      const path = `/${id}/chunks/${i}`;
      let repeated = false;
      const onagain = () => (repeated = true);
      try {
        await this.#done("PUT", path, { body, headers, signal: within, retry408: false, onagain });
      } catch (error) {
        if (error.status === 408 && slow.push(i) < SLOW_MAX) {
          // The line is full: this chunk's turn comes again, with fewer beside it.
          again.push(i);
          kept.set(i, body);
          return this.#up.crowded();
        }
        // An answer was lost, the chunk was sent again, and meanwhile the receiver has fetched and acknowledged it all. Its
        // chunks are freed, which older nodes call a conflict.
        if (error.status !== 404 && !(repeated && error.code === "chunk_conflict")) throw error;
        if (!(await this.#look(id, within))?.acknowledged) throw error;
        if (!repeated && !same) throw takeAnotherPin();
        over = true;
      }
      same ||= !known.length || known.includes(i);
      this.#up.took(performance.now() - began, concurrency);
      await onprogress?.({ done: ++done, total });
    };
    const following = () => {
      if (over) return null;
      if (again.length) return again.shift();
      while (next < total && among(ranges, next)) next++;
      return next < total ? next++ : null;
    };
    for (const i of known) await put(i);
    await this.#several(this.#up, concurrency, following, put, stop);
    return id;
  }

  /** Does `work` for all that `following` gives, as many at once as the crowd has places. */
  #several(crowd, max, following, work, stop) {
    return new Promise((resolve, reject) => {
      let [busy, ended] = [0, false];
      const more = () => {
        while (!ended && busy < crowd.places(max)) {
          const i = following();
          if (i === null) break;
          busy++;
          work(i).then(() => (busy--, more()), fail);
        }
        if (!busy && !ended) resolve();
      };
      const fail = (error) => {
        ended = true;
        stop.abort(error);
        reject(error);
      };
      more();
    });
  }

  /**
   * Fetches a transfer's chunks as they come and hands them to `sink` in their order, never more than `concurrency`
   * ahead of it. Without a sink, returns a Blob.
   */
  async download({ id, pin, passwordHash, total, sink, concurrency = 6, onprogress, onbytes, signal, ack = true }) {
    const parts = [];
    sink ??= (bytes) => void parts.push(bytes);
    if (id == null && pin == null)
      throw new ConclaveError("missing_fields", "A download needs `id`, or `pin`, `passwordHash` and `total`.");
    id ??= await this.open({ pin, passwordHash, total: chunks(total), signal });
    let state;
    const look = async () => {
      state = await this.state(id, { signal });
      // What was acknowledged early is there until all of it was handed out.
      if (state.acknowledged && state.delivered === state.total) throw finished("its chunks are gone");
    };
    await look();
    const news = new News(this.#client, id);
    try {
      const again = () => (news.look(), look());
      await this.#inOrder(id, {
        state: () => state,
        again,
        news,
        sink,
        concurrency,
        onprogress,
        onbytes,
        signal,
      });
    } finally {
      news.end();
    }
    if (ack)
      await this.acknowledge(id, { signal }).catch((error) => {
        // Everything is in the sink, and was checked: nothing of it is lost because the transfer ended.
        if (error.status !== 404) throw error;
      });
    return new Blob(parts);
  }

  async #inOrder(id, { state, again, news, sink, concurrency, onprogress, onbytes, signal }) {
    const { total } = state();
    const coming = new Map();
    // When the last look came back: on a slow line one takes longer than the pause before the next.
    let [asked, looked, looking] = [0, Date.now(), null];
    for (let next = 0; next < total;) {
      const places = this.#down.places(concurrency);
      while (coming.size < places && asked < total && among(state().ranges, asked)) {
        const fetching = this.#fetch(id, asked, { concurrency, onbytes, signal });
        fetching.catch(() => {});
        coming.set(asked++, fetching);
      }
      // Looked for ahead of time, so that the next chunks are known before these are all fetched.
      if (
        !looking &&
        coming.size < places &&
        asked < total &&
        Date.now() - looked > LOOK_AGAIN_AFTER_MS
      ) {
        looking = again().then(() => ([looked, looking] = [Date.now(), null]));
        looking.catch(() => {});
      }
      if (coming.has(next)) {
        await sink(await coming.get(next), next);
        coming.delete(next++);
        await onprogress?.({ done: next, total });
      } else if (looking) await looking;
      else {
        const { received } = state();
        await news.of((now) => now.gone || now.received !== received, signal);
        looked = 0;
      }
    }
  }

  async #fetch(id, i, { concurrency, onbytes, signal }) {
    for (let [damaged, broken] = [0, 0]; ;) {
      const began = performance.now();
      const reply = await this.#call("GET", `/${id}/chunks/${i}`, { signal });
      const { bytes, whole } = await read(reply, onbytes);
      signal?.throwIfAborted();
      if (!whole) {
        // A body that breaks off is not damaged: it is fetched again.
        this.#down.crowded();
        broken = bytes.length ? 0 : broken + 1;
        if (broken >= BROKEN_MAX)
          throw new ConclaveError("unreachable", "A chunk broke off again and again before it was here.");
        await sleep(LOOK_AGAIN_AFTER_MS * 2 ** Math.min(broken, 5), signal);
        continue;
      }
      if ((await contentDigest(bytes)) === reply.headers.get("content-digest")) {
        this.#down.took(performance.now() - began, concurrency);
        return bytes;
      }
      if (++damaged >= DAMAGED_MAX)
        throw new ConclaveError("digest_mismatch", "A chunk arrived damaged again and again.");
    }
  }
}

/** A body as it comes; `whole` is false if it broke off. */
async function read(reply, onbytes) {
  const parts = [];
  let whole = true;
  if (!reply.body) return { bytes: new Uint8Array(), whole };
  const reader = reply.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true, value: null }));
    if (value === null) whole = false;
    if (done) break;
    parts.push(value);
    await onbytes?.(value.length);
  }
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { bytes, whole };
}

/** What is pushed of one transfer, while somebody waits for it. */
class News {
  #now = null;
  #ring = () => {};
  #stop;
  /** Whether the transfer was acknowledged when it was last told of; that it is gone says nothing about that. */
  acknowledged = false;

  constructor(client, id) {
    this.#stop = client.watch({ transfer: id }, (now) => {
      this.#now = now;
      if (!now.gone) this.acknowledged = now.acknowledged;
      this.#ring();
    });
  }

  /** It is looked at now: what was pushed before is old. */
  look() {
    this.#now = null;
  }

  /**
   * Waits for news since the last look that fit. Not for ever: a watch may be refused, and asking is what keeps a
   * transfer alive.
   */
  async of(fits, signal) {
    const quiet = new AbortController();
    const patience = sleep(ASK_EVERY_MS, signal ? AbortSignal.any([signal, quiet.signal]) : quiet.signal);
    const news = new Promise((resolve) => {
      this.#ring = () => this.#now && fits(this.#now) && resolve();
      this.#ring();
    });
    patience.catch(() => {});
    await Promise.race([news, patience]).finally(() => quiet.abort());
  }

  end() {
    this.#stop();
  }
}
