// The nodes a client knows: which one is in use, which ones may be trusted with its credential, and requests to whichever
// of them answers.

import { ConclaveError, sleep, unreachable } from "./errors.js";

const NODES_MAX = 64;
/** A request that waits (`waitMs`) is answered within 20 s, any other one sooner; then bytes keep coming, or it is over. */
export const POLL_MS = 20000;
const SILENT_MS = POLL_MS + 8000;
/** What an upload may need: a body is not seen leaving, so it gets time by its size. */
const UPLOAD_BYTES_PER_SECOND = 1000;
const BACK_OFF_MAX_MS = 5000;
/** However late `Retry-After` says; timers take no more than 24 days. */
const PAUSE_MAX_MS = 3600000;
const PROBED_WITHIN_MS = 4000;
const SLOW_MAX = 8;

/** Full jitter: anything up to a bound that doubles, so that clients of a dead node do not come back all at once. */
export const backOff = (failures, max = BACK_OFF_MAX_MS) => Math.random() * Math.min(max, 200 * 2 ** failures);

/** Milliseconds that `Retry-After` asks for, in seconds or as a date (RFC 9110, section 10.2.3); NaN: neither. */
const asked = (value) => (/^\d+$/.test(value) ? value * 1000 : Date.parse(value) - Date.now());

const trimmed = (url) => String(url).replace(/\/+$/, "");

/** An address that means this very machine, or this very network segment, to whoever reads it. */
function isLocal(url) {
  const host = new URL(url).hostname;
  return /^(localhost|127\.|\[::1\]|\[?fe80:|169\.254\.|0\.0\.0\.0|\[::\])/i.test(host);
}

export class Nodes {
  #urls;
  #token;
  #getToken;
  #renewing = null;
  #at = 0;
  #secure;
  #local;
  #stop;

  constructor({ urls, token, getToken, stop }) {
    this.#urls = [...new Set([urls].flat().filter(Boolean).map(trimmed))];
    if (!this.#urls.length) throw new ConclaveError("invalid_input", "Name at least one node in `urls`.");
    for (const url of this.#urls) {
      if (!/^https?:\/\//.test(url) || !URL.canParse(url))
        throw new ConclaveError("invalid_input", `\`${url}\` in \`urls\` is not an http or https address.`);
    }
    this.#token = token;
    this.#getToken = getToken;
    this.#secure = this.#urls.some((url) => url.startsWith("https:"));
    this.#local = this.#urls.some(isLocal);
    this.#stop = stop;
    /** Called when a request found a node away. */
    this.onfailure = () => {};
  }

  get count() {
    return this.#urls.length;
  }

  get current() {
    return this.#urls[this.#at];
  }

  /** All of them, the one in use first. */
  get all() {
    return this.#urls.map((_, i) => this.#urls[(this.#at + i) % this.#urls.length]);
  }

  get token() {
    return this.#token;
  }

  /** The token, asked for if there is none yet. */
  async credential() {
    if (!this.#token) await this.renew();
    return this.#token;
  }

  /**
   * Asks the program for a token in place of `old`; true if there is another one then. Who asks meanwhile gets the same
   * answer.
   */
  async renew(old = this.#token) {
    if (this.#getToken && this.#token === old) {
      const ask = async () => (this.#token = await this.#getToken());
      await (this.#renewing ??= ask().finally(() => (this.#renewing = null)));
    }
    return this.#token !== old;
  }

  /** The next node's turn, or that of one that was named. */
  move(url) {
    if (url) this.learn([url]);
    const named = url ? this.#urls.indexOf(trimmed(url)) : -1;
    this.#at = named >= 0 ? named : (this.#at + 1) % this.#urls.length;
  }

  /**
   * Adds addresses that a node named. The credential and the session's id will go there, so the scheme must be that of
   * the addresses the program gave, and one that means "this machine" is taken only where the given ones do.
   */
  learn(urls) {
    for (const url of urls.map(trimmed)) {
      if (!URL.canParse(url) || !url.startsWith(this.#secure ? "https://" : "http://")) continue;
      // A page that came over TLS may not talk to what has none.
      if (globalThis.location?.protocol === "https:" && !this.#secure) continue;
      if (isLocal(url) && !this.#local) continue;
      if (!this.#urls.includes(url) && this.#urls.length < NODES_MAX) this.#urls.push(url);
    }
  }

  #headers(headers) {
    return this.#token ? { authorization: `Bearer ${this.#token}`, ...headers } : headers;
  }

  /** Asks all nodes at once; the first that answers becomes the one in use. Throws what to tell if none does. */
  async probe() {
    const token = await this.credential();
    try {
      return await this.#probe();
    } catch (error) {
      if (error.status !== 401 || !(await this.renew(token).catch(() => false))) throw error;
      return this.#probe();
    }
  }

  async #probe() {
    const stop = new AbortController();
    const signal = AbortSignal.any([this.#stop, stop.signal, AbortSignal.timeout(PROBED_WITHIN_MS)]);
    const ask = async (url) => {
      const reply = await fetch(`${url}/api/v1/nodes`, { headers: this.#headers({}), signal, cache: "no-store" });
      const body = await reply.json().catch(() => ({}));
      if (reply.status === 401 || reply.status === 403)
        return { error: new ConclaveError(body.error ?? "refused", body.message, reply.status) };
      if (!Array.isArray(body.nodes)) throw new ConclaveError("unreachable", `${url} answered ${reply.status}.`);
      return { url, nodes: body.nodes };
    };
    try {
      const found = await Promise.any(this.#urls.map(ask));
      if (found.error) throw found.error;
      this.#at = this.#urls.indexOf(found.url);
      return found.nodes;
    } catch (error) {
      const [first] = error.errors ?? [error];
      if (error instanceof ConclaveError) throw error;
      throw unreachable("No node answers", first);
    } finally {
      stop.abort();
    }
  }

  /** The other nodes, by what the one in use says. */
  async discover() {
    const reply = await this.http("GET", "/api/v1/nodes").catch(() => null);
    const { nodes = [] } = (await reply?.json().catch(() => null)) ?? {};
    this.learn(nodes.map((node) => node.url));
  }

  /**
   * One request, to whichever node answers it: another node's turn after a broken connection or a 503, and as long a
   * pause as `Retry-After` says; a token that is refused is replaced once; 408, a slow line, is asked again. Any other answer is the answer. Silence ends a
   * request, not the time it takes. `onagain` is called before it is sent again.
   */
  async http(method, path, request = {}) {
    const { headers: more, body, signal, timeoutMs = 60000, retry408 = true, keepalive = false, onagain } = request;
    const headers = { ...(typeof body === "string" && { "content-type": "application/json" }), ...more };
    let token = await this.credential();
    let renewed = false;
    let until = Date.now() + timeoutMs;
    let at = this.#at;
    for (let failures = 0, slow = 0; ; failures++) {
      const url = this.#urls[at % this.#urls.length];
      let pause = backOff(failures);
      try {
        const reply = await this.#once(url + path, { method, headers: this.#headers(headers), body, signal, keepalive });
        if (reply.status === 401 && !renewed && (await this.renew(token).catch(() => false))) {
          // Once: a fresh token that is refused as well is no better than none.
          renewed = true;
          token = this.#token;
          continue;
        }
        const busy = reply.status === 503 || reply.status === 429;
        if (reply.status === 408 && retry408 && ++slow < SLOW_MAX) {
          // The node is well, the line is slow.
          until = Date.now() + timeoutMs;
          at--;
        } else if (!busy || Date.now() > until) {
          if (failures) this.#at = at % this.#urls.length;
          return reply;
        } else {
          const wanted = asked(reply.headers.get("retry-after") ?? "1") * (1 + Math.random() / 4);
          // Also where it says nothing that can be read, or less.
          pause = Math.max(pause, wanted || 0);
        }
      } catch (error) {
        signal?.throwIfAborted();
        this.#stop.throwIfAborted();
        this.onfailure();
        if (Date.now() > until) {
          throw unreachable(`No node answers ${method} ${path.split("?")[0]}`, error);
        }
      }
      at++;
      // What asks for more than there is time for is asked once more, at the end of it.
      pause = Math.min(pause, Math.max(0, until - Date.now()), PAUSE_MAX_MS);
      await sleep(pause, signal ? AbortSignal.any([signal, this.#stop]) : this.#stop);
      onagain?.();
    }
  }

  async #once(url, { method, headers, body, signal, keepalive }) {
    const quiet = new AbortController();
    let timer;
    const within = (ms) => {
      clearTimeout(timer);
      const silent = () => quiet.abort(new ConclaveError("unreachable", `nothing came for ${Math.round(ms / 1000)} s`));
      timer = setTimeout(silent, ms);
      timer.unref?.();
    };
    const size = body?.byteLength ?? body?.size ?? body?.length ?? 0;
    within(SILENT_MS + (size / UPLOAD_BYTES_PER_SECOND) * 1000);
    // What outlives its page outlives its client.
    const ends = [quiet.signal, ...(keepalive ? [] : [this.#stop]), ...(signal ? [signal] : [])];
    try {
      const reply = await fetch(url, { method, headers, body, keepalive, signal: AbortSignal.any(ends), cache: "no-store" });
      if (!reply.body) {
        clearTimeout(timer);
        return reply;
      }
      within(SILENT_MS);
      const watched = new TransformStream({
        transform: (chunk, controller) => (within(SILENT_MS), controller.enqueue(chunk)),
        flush: () => clearTimeout(timer),
      });
      return new Response(reply.body.pipeThrough(watched), reply);
    } catch (error) {
      clearTimeout(timer);
      throw error;
    }
  }
}
