// Two pages and one code: what both sides of a pairing have. They find each other, agree on keys and on a way, know
// whether the other one is still there, and go on after a break. The sides: sender.js and receiver.js.
//
// The receiver leads. It says hello under the code, gets the list of files, and asks for runs: "send me records from
// here on, this way". When a way breaks it asks for another run from where it is. The sender obeys the latest run. All
// of it travels as sealed letters inside signals, so neither the server nor anybody on the way can take part.

import { answer, sleep } from "./conclave.js";
import { negotiate } from "./negotiate.js";
import { fromBase64, key, Letters, Records, root } from "./seal.js";

/** Both sides say so often that they are there. */
const HERE_EVERY_MS = 2500;
/** Without a word for so long, it is asked whether the other page was closed. */
const QUIET_MS = 6000;
const LOOK_EVERY_MS = 500;
/** A closed page's invite code leads nowhere at once; one that sleeps keeps its code for longer than this. */
const CLOSED_WITHIN_MS = 20000;
const ASK_AGAIN_MS = 1000;
const ASK_EVERY_MS = 2000;

/** What a person should be told; `code` says which. */
export class TransferError extends Error {
  constructor(code, detail = "") {
    super(detail || code);
    this.code = code;
  }
}

export const random = (bytes) => crypto.getRandomValues(new Uint8Array(bytes));
const freshPeer = () => [...random(16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** The keys of one pairing: both sides bring randomness, so no key ever comes again. */
export const salted = (a, b) => Uint8Array.of(...fromBase64(a), ...fromBase64(b));
export const recordsOf = async (secret, salt, run, via) =>
  new Records(await key(secret, salt, `records of run ${run}, ${via}`));

export class Side {
  #farewell = null;
  #quiet = false;

  constructor({ client, transfers, relayOnly, on, names }) {
    this.client = client;
    this.transfers = transfers;
    this.direct = !relayOnly && "RTCPeerConnection" in globalThis;
    this.on = on;
    this.names = names;
    this.id = freshPeer();
    this.peer = null;
    /** The invite code that leads to the other side. */
    this.call = null;
    this.heard = 0;
    this.link = null;
    this.channel = null;
    this.stop = new AbortController();
  }

  async start(code) {
    this.root = await root(code);
    this.letters = await Letters.between(this.root, ...this.names);
    const none = { iceServers: [] };
    this.ice = this.direct ? await answer(this.client.http("GET", "/api/v1/ice")).catch(() => none) : none;
    this.off = this.client.on("signal", (signal) => this.hear(signal));
    void this.#watch();
  }

  async tell(kind, body = {}, type = "ready", to = this.peer) {
    const letter = await this.letters.seal(this.id, to, type, { kind, ...body });
    await this.client.signal(to, type, letter);
  }

  /** The other side is known from now on; `call` is its invite code. */
  async meet(peer, call) {
    [this.peer, this.call, this.heard] = [peer, call, performance.now()];
    this.#quiet = false;
    // Sealed in advance: a page that is closed has no time for it.
    const letter = await this.letters.seal(this.id, peer, "bye", { kind: "bye", why: "left" }, { last: true });
    if (this.peer !== peer) return;
    this.#farewell = () => {
      if (this.client.via === "socket") return this.client.signal(peer, "bye", letter);
      // Other requests end with the page.
      const body = JSON.stringify({ action: "signal", from: this.id, to: peer, type: "bye", payload: letter });
      return this.client.http("POST", "/api/relay", { body, keepalive: true });
    };
  }

  part() {
    this.peer = this.call = this.#farewell = null;
    this.link?.close();
    this.link = this.channel = null;
  }

  /** A letter or bytes came from the other side. */
  alive() {
    this.heard = performance.now();
    if (this.#quiet) this.on({ phase: "heard" });
    this.#quiet = false;
  }

  /** Says that this side is here, and finds out whether the other one is: closed, or asleep. */
  async #watch() {
    const { signal } = this.stop;
    for (let [told, asked] = [0, 0]; !signal.aborted;) {
      await sleep(LOOK_EVERY_MS, signal).catch(() => {});
      // Who has no connection does not know.
      if (signal.aborted || !this.peer || !this.client.via) continue;
      if (performance.now() - told >= HERE_EVERY_MS) {
        told = performance.now();
        void this.tell("here").catch(() => {});
      }
      const quiet = performance.now() - this.heard;
      if (quiet < QUIET_MS) continue;
      // Asked again for a while: on a slow line its last words are still under way.
      if (quiet < CLOSED_WITHIN_MS && performance.now() - asked >= ASK_EVERY_MS) {
        if (await this.#closed()) {
          this.left();
          continue;
        }
        asked = performance.now();
      }
      if (!this.#quiet && this.peer && performance.now() - this.heard >= QUIET_MS) {
        this.#quiet = true;
        this.on({ phase: "quiet" });
      }
    }
  }

  async #closed() {
    const { call } = this;
    for (let times = 0; times < 2; times++) {
      if (times) await sleep(ASK_AGAIN_MS, this.stop.signal).catch(() => {});
      const error = await this.client.lookup(call).then(
        () => null,
        (error) => error,
      );
      if (error?.code !== "peer_not_found" || this.call !== call) return false;
    }
    return !this.stop.signal.aborted && performance.now() - this.heard >= QUIET_MS;
  }

  /** Opens a way from device to device, beside whatever else goes on. */
  connect(polite) {
    this.link?.close();
    this.link = this.channel = null;
    if (!this.direct) return;
    const peer = this.peer;
    const send = async (type, payload) => {
      if (peer === this.peer) await this.tell("rtc", { payload }, type);
    };
    this.link = negotiate(send, { polite, config: { iceServers: this.ice.iceServers } });
  }

  negotiated(type, payload) {
    this.link?.receive(type, payload).catch(() => {});
  }

  end() {
    this.off?.();
    this.stop.abort(new TransferError("cancelled"));
    this.link?.close();
  }

  /** The page is closed: the other side is told at once, or never. */
  leave() {
    void this.#farewell?.().catch(() => {});
    this.end();
  }

  /** Ends it and tells the other side, if there is one. */
  async cancel(why = "cancelled") {
    if (this.peer) await Promise.race([this.tell("bye", { why }, "bye").catch(() => {}), sleep(1000)]);
    this.end();
  }
}
