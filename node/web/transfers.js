// Transfers: up to 2,048 chunks of up to 48 KiB, uploaded and downloaded over HTTP, several at a time, each checked
// against its SHA-256, resumed after a break on whatever node answers.
//
//   const transfers = new Transfers(await connect({ urls }));
//   const id = await transfers.upload({ pin, passwordHash, data: blob });
//
// Types and the meaning of each field: conclave.d.ts.

import { answer, ConclaveError, sleep } from "./conclave.js";

/** Bytes of one chunk at most. */
export const CHUNK_BYTES = 49152;
/** Chunks of one transfer at most. */
export const CHUNKS_MAX = 2048;

const LOOK_AGAIN_AFTER_MS = 100;
const ASK_EVERY_MS = 5000;
const DAMAGED_MAX = 3;

const contentDigest = async (bytes) => {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha-256=:${btoa(String.fromCharCode(...digest))}:`;
};

const among = (ranges, i) => ranges.some(([first, last]) => first <= i && i <= last);

/** The transfers that one client takes part in. */
export class Transfers {
  #client;

  constructor(client) {
    this.#client = client;
  }

  async #call(method, path, options) {
    const reply = await this.#client.http(method, `/api/v1/transfers${path}`, options);
    return reply.ok ? reply : answer(reply);
  }

  /** Makes a transfer, or finds the one that lives under these words; its id is the right to use it. */
  async open({ pin, passwordHash, total, signal }) {
    const body = JSON.stringify({ pin, passwordHash, totalChunks: total });
    return (await answer(this.#call("POST", "", { body, signal }))).transferId;
  }

  /** How a transfer is: `received` chunks out of `total`, in `ranges`. */
  async state(id, { signal } = {}) {
    const state = await answer(this.#call("GET", `/${id}`, { signal }));
    const { totalChunks: total, received: ranges, ...rest } = state;
    const received = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
    return { ...rest, transfer: id, total, received, ranges, done: received === total };
  }

  /** Everything arrived: frees the chunks. */
  async acknowledge(id, { signal } = {}) {
    await this.#call("POST", `/${id}/ack`, { signal });
  }

  /** Waits until the other side has acknowledged a transfer: true, or false if it is gone before. */
  async acknowledged(id, { signal } = {}) {
    const news = new News(this.#client, id);
    try {
      for (;;) {
        const state = await this.state(id, { signal }).catch((error) => {
          if (error.status !== 404) throw error;
        });
        if (!state || state.acknowledged) return Boolean(state);
        await news.of((now) => now.gone || now.acknowledged, signal);
      }
    } finally {
      news.end();
    }
  }

  /** Uploads what is not there yet. Returns the transfer's id. */
  async upload({ pin, passwordHash, data, total, chunk, concurrency = 6, onprogress, signal }) {
    if (data !== undefined) {
      const blob = new Blob([data]);
      total = Math.ceil(blob.size / CHUNK_BYTES);
      chunk = (i) => blob.slice(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES).arrayBuffer();
    }
    if (!(total >= 1 && total <= CHUNKS_MAX)) {
      throw new ConclaveError("invalid_input", `a transfer has 1 to ${CHUNKS_MAX} chunks`);
    }
    const id = await this.open({ pin, passwordHash, total, signal });
    const { ranges, received } = await this.state(id, { signal });
    // One failure ends them all.
    const stop = new AbortController();
    const within = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    let next = 0;
    let done = received;
    const work = async () => {
      for (;;) {
        while (next < total && among(ranges, next)) next++;
        if (next >= total) return;
        const i = next++;
        const body = await chunk(i);
        within.throwIfAborted();
        const headers = { "content-digest": await contentDigest(body) };
        await this.#call("PUT", `/${id}/chunks/${i}`, { body, headers, signal: within });
        onprogress?.({ done: ++done, total });
      }
    };
    try {
      await Promise.all(Array.from({ length: concurrency }, work));
    } catch (error) {
      stop.abort(error);
      throw error;
    }
    return id;
  }

  /**
   * Fetches a transfer's chunks as they come and hands them to `sink` in their order, never more than `concurrency`
   * ahead of it. Without a sink, returns a Blob.
   */
  async download({ id, pin, passwordHash, total, sink, concurrency = 6, onprogress, signal, ack = true }) {
    const parts = [];
    sink ??= (bytes) => void parts.push(bytes);
    id ??= await this.open({ pin, passwordHash, total, signal });
    let state = await this.state(id, { signal });
    const news = new News(this.#client, id);
    try {
      const again = async () => (state = await this.state(id, { signal }));
      await this.#inOrder(id, { state: () => state, again, news, sink, concurrency, onprogress, signal });
    } finally {
      news.end();
    }
    if (ack) await this.acknowledge(id, { signal });
    return new Blob(parts);
  }

  async #inOrder(id, { state, again, news, sink, concurrency, onprogress, signal }) {
    const { total } = state();
    const coming = new Map();
    let [asked, looked, looking] = [0, 0, null];
    for (let next = 0; next < total;) {
      while (coming.size < concurrency && asked < total && among(state().ranges, asked)) {
        const fetching = this.#fetch(id, asked, signal);
        fetching.catch(() => {});
        coming.set(asked++, fetching);
      }
      // Looked for ahead of time, so that the next chunks are known before these are all fetched.
      if (
        !looking &&
        coming.size < concurrency &&
        asked < total &&
        Date.now() - looked > LOOK_AGAIN_AFTER_MS
      ) {
        looked = Date.now();
        looking = again().then(() => (looking = null));
        looking.catch(() => {});
      }
      if (coming.has(next)) {
        await sink(await coming.get(next), next);
        coming.delete(next++);
        onprogress?.({ done: next, total });
      } else if (looking) await looking;
      else {
        const { received } = state();
        await news.of((now) => now.gone || now.received !== received, signal);
        looked = 0;
      }
    }
  }

  async #fetch(id, i, signal) {
    for (let tries = 0; tries < DAMAGED_MAX; tries++) {
      const reply = await this.#call("GET", `/${id}/chunks/${i}`, { signal });
      // A body that breaks off is fetched again, like one that is damaged.
      const bytes = await reply.arrayBuffer().catch(() => null);
      signal?.throwIfAborted();
      if (bytes && (await contentDigest(bytes)) === reply.headers.get("content-digest"))
        return new Uint8Array(bytes);
    }
    throw new ConclaveError("digest_mismatch", "a chunk arrived damaged again and again");
  }
}

/** What is pushed of one transfer, while somebody waits for it. */
class News {
  #now = null;
  #ring = () => {};
  #stop;

  constructor(client, id) {
    this.#stop = client.watch({ transfer: id }, (now) => {
      this.#now = now;
      this.#ring();
    });
  }

  /** Waits for news that fit; not for ever, since asking is what keeps a transfer alive. */
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
