// Where no WebSocket gets through: signals by HTTP requests and long polls, watches by asking.

import { answer, ConclaveError, sleep } from "./errors.js";
import { POLL_MS } from "./nodes.js";

const RENEW_MS = 10000;
const WATCH_MS = 300;
const AFTER_FAILURE_MS = 3000;

/** Whether a request was not answered: then it stays, for the next connection. */
const unanswered = (error) => !(error instanceof ConclaveError) || ["unreachable", "closed"].includes(error.code);

export class Fallback {
  #nodes;
  #on;
  #claim = null;
  #stop = new AbortController();
  // Signals go one after the other, so that they stay in order.
  #sending = Promise.resolve();

  /** `on` is `{ hand, failed }`. */
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
    const refused = (error) => this.#stop.signal.aborted || unanswered(error) || request.reject(error);
    if (request.op === "signal") {
      this.#sending = this.#sending.then(() => this.#carry(request)).then(done, refused);
    } else void this.#carry(request).then(done, refused);
  }

  async #carry({ op, fields }) {
    const { peerId, inviteCode, to, type, payload } = fields;
    if (op === "claim") {
      if (inviteCode) await this.#relay("register", { inviteCode, peerId });
      return {};
    }
    if (op === "lookup") return this.#relay("lookup", { inviteCode });
    if (op === "signal") {
      if (!this.#claim) throw new ConclaveError("not_claimed");
      return this.#relay("signal", { from: this.#claim.peerId, to, type, payload });
    }
    throw new ConclaveError("unavailable");
  }

  async #relay(action, fields) {
    // The key makes a repetition after a lost answer harmless.
    const headers = { "idempotency-key": crypto.randomUUID() };
    const body = JSON.stringify({ action, ...fields });
    return answer(this.#nodes.http("POST", "/api/relay", { headers, body, signal: this.#stop.signal }));
  }

  /** Fetches the signals to a claimed peer id, and keeps its invite code. */
  poll(claim) {
    this.#claim = claim;
    const { signal } = this.#stop;
    const loop = async (every, step) => {
      while (!signal.aborted && this.#claim === claim) {
        let pause = every;
        await step().catch((error) => {
          pause = Math.max(every, AFTER_FAILURE_MS);
          if (!signal.aborted && !unanswered(error)) this.#on.failed(error);
        });
        await sleep(pause, signal).catch(() => {});
      }
    };
    void loop(0, async () => {
      const { messages } = await this.#relay("poll", { peerId: claim.peerId, waitMs: POLL_MS });
      for (const message of messages) this.#on.hand(message);
    });
    const { peerId, inviteCode } = claim;
    if (inviteCode) void loop(RENEW_MS, () => this.#relay("register", { peerId, inviteCode }));
  }

  /** Asks for what is watched until nobody watches it any more. */
  async look(watch) {
    const { signal } = this.#stop;
    const { transfer, session } = watch.what;
    const ask = transfer ? () => this.#transfer(transfer) : () => this.#exchange(session);
    while (!signal.aborted && !watch.over) {
      const now = await ask().catch((error) => (unanswered(error) ? null : { gone: true }));
      if (signal.aborted || watch.over) return;
      if (now) watch.tell(now);
      await sleep(WATCH_MS, signal).catch(() => {});
    }
  }

  async #transfer(transfer) {
    const { signal } = this.#stop;
    const state = await answer(this.#nodes.http("GET", `/api/v1/transfers/${transfer}`, { signal }));
    const { totalChunks: total, received: ranges, ...rest } = state;
    const received = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
    return { ...rest, transfer, received, total, done: received === total, gone: false };
  }

  async #exchange(session) {
    const { signal } = this.#stop;
    const there = async (what) => {
      const reply = await this.#nodes.http("GET", `/api/v1/sessions/${session}/${what}`, { signal });
      await reply.arrayBuffer();
      return reply.status;
    };
    const [offer, answer] = await Promise.all([there("offer"), there("answer")]);
    return { session, offer: offer === 200, answer: answer === 200, gone: offer === 410 };
  }
}
