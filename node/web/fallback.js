// Where no WebSocket gets through: signals by HTTP requests and long polls, watches by asking.

import { answer, ConclaveError, sleep } from "./errors.js";
import { POLL_MS } from "./nodes.js";

const RENEW_MS = 10000;
const WATCH_MS = 300;
const AFTER_FAILURE_MS = 3000;

/** Whether a request was not answered: then it is asked again, here or on the next connection. */
const unanswered = (error) => error.code === "unreachable";

/** Without `crypto.randomUUID`, which pages that came without TLS do not have. */
const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/**
 * The polls for one peer id, beyond the fallback that makes them. One whose answer did not come is asked again, by
 * whatever comes next, under its key: so what it took is handed out, once, and before anything younger.
 */
export class Polls {
  #nodes;
  #peerId;
  #hand;
  #key = null;

  constructor(nodes, peerId, hand) {
    this.#nodes = nodes;
    this.#peerId = peerId;
    this.#hand = hand;
  }

  /** Whether one has no answer. */
  get pending() {
    return this.#key !== null;
  }

  /** Polls once, and hands out what comes. */
  async ask(waitMs, signal) {
    const key = (this.#key ??= randomKey());
    const headers = { "idempotency-key": key };
    const body = JSON.stringify({ action: "poll", peerId: this.#peerId, waitMs });
    const { messages } = await answer(this.#nodes.http("POST", "/api/relay", { headers, body, signal })).catch((error) => {
      // Refused: it took nothing. What a proxy says tells nothing about the node behind it.
      if (error.status && error.status < 500 && error.code !== "unknown" && this.#key === key) this.#key = null;
      throw error;
    });
    if (!Array.isArray(messages)) throw new ConclaveError("unreachable", "The answer to a poll broke off.");
    // It was ended, or another one with this key was answered sooner.
    if (signal.aborted || this.#key !== key) return;
    this.#key = null;
    for (const message of messages) this.#hand(message);
  }
}

export class Fallback {
  #nodes;
  #on;
  #claim = null;
  // Who signals come from: a claim is in force for what is asked after it.
  #from = null;
  #stop = new AbortController();
  // Claims and signals go one after the other, so that they stay in order.
  #sending = Promise.resolve();

  /** `on` is `{ polls, failed }`. */
  constructor(nodes, on) {
    this.#nodes = nodes;
    this.#on = on;
  }

  end() {
    this.#stop.abort(new ConclaveError("disconnected"));
  }

  /** Carries a request out; one that finds no node is left to the next connection. */
  carry(request) {
    const done = (value) => this.#stop.signal.aborted || request.resolve(value);
    const refused = (error) => this.#stop.signal.aborted || request.reject(error);
    if (["claim", "signal"].includes(request.op)) {
      this.#sending = this.#sending.then(() => this.#persist(request)).then(done, refused);
    } else void this.#persist(request).then(done, refused);
  }

  async #persist(request) {
    // Kept with the request: another fallback may have to ask again what this one was not told.
    const key = (request.key ??= randomKey());
    for (;;) {
      try {
        return await this.#carry(request, key);
      } catch (error) {
        if (!unanswered(error)) throw error;
        await sleep(AFTER_FAILURE_MS, this.#stop.signal);
      }
    }
  }

  async #carry({ op, fields }, key) {
    const { peerId, inviteCode, to, type, payload } = fields;
    if (op === "claim") {
      if (inviteCode) await this.#relay("register", { inviteCode, peerId }, key);
      this.#from = peerId;
      return {};
    }
    if (op === "lookup") return this.#relay("lookup", { inviteCode }, key);
    if (op === "signal") {
      if (!this.#from) throw new ConclaveError("not_claimed");
      return this.#relay("signal", { from: this.#from, to, type, payload }, key);
    }
    throw new ConclaveError("unavailable");
  }

  async #relay(action, fields, key = randomKey()) {
    // The key makes a repetition after a lost answer harmless.
    const headers = { "idempotency-key": key };
    const body = JSON.stringify({ action, ...fields });
    return answer(this.#nodes.http("POST", "/api/relay", { headers, body, signal: this.#stop.signal }));
  }

  /** Fetches the signals to a claimed peer id, and keeps its invite code. */
  poll(claim) {
    this.#claim = claim;
    this.#from = claim.peerId;
    const { signal } = this.#stop;
    const loop = async (every, step) => {
      while (!signal.aborted && this.#claim === claim) {
        let pause = every;
        try {
          await step();
        } catch (error) {
          pause = Math.max(every, AFTER_FAILURE_MS);
          if (!signal.aborted && !unanswered(error)) this.#on.failed(error);
        }
        await sleep(pause, signal).catch(() => {});
      }
    };
    const polls = this.#on.polls();
    void loop(0, () => polls.ask(POLL_MS, signal));
    const { peerId, inviteCode } = claim;
    if (inviteCode) void loop(RENEW_MS, () => this.#relay("register", { peerId, inviteCode }));
  }

  /** Asks for what is watched until nobody watches it any more. */
  async look(watch) {
    const { signal } = this.#stop;
    const { transfer, session } = watch.what;
    const ask = transfer ? () => this.#transfer(transfer) : () => this.#exchange(session);
    // A refusal says nothing about the thing; it is told once.
    for (let refusal = null; !signal.aborted && !watch.over;) {
      let pause = WATCH_MS;
      const now = await ask().catch((error) => {
        pause = AFTER_FAILURE_MS;
        if (signal.aborted || watch.over || unanswered(error) || error.code === refusal) return;
        refusal = error.code;
        this.#on.failed(error);
      });
      if (signal.aborted || watch.over) return;
      if (now) watch.tell(now);
      await sleep(pause, signal).catch(() => {});
    }
  }

  async #transfer(transfer) {
    const { signal } = this.#stop;
    const asked = answer(this.#nodes.http("GET", `/api/v1/transfers/${transfer}`, { signal }));
    const state = await asked.catch((error) => {
      if (error.status !== 404) throw error;
      return error;
    });
    if (state.status === 404) {
      // As a socket says it: what is remembered of it is not gone.
      const { acknowledged } = state;
      return { transfer, received: 0, total: 0, done: false, acknowledged, gone: !acknowledged };
    }
    const { totalChunks: total, received: ranges, ...rest } = state;
    const received = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
    return { ...rest, transfer, received, total, done: total > 0 && received === total, gone: false };
  }

  async #exchange(session) {
    const { signal } = this.#stop;
    const there = async (what) => {
      const asked = answer(this.#nodes.http("GET", `/api/v1/sessions/${session}/${what}`, { signal }));
      return asked.then(
        () => 200,
        (error) => {
          if (![404, 410].includes(error.status)) throw error;
          return error.status;
        },
      );
    };
    const [offered, answered] = await Promise.all([there("offer"), there("answer")]);
    return { session, offer: offered === 200, answer: answered === 200, gone: offered === 410 };
  }
}
