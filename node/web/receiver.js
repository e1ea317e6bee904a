// The side that has a code, and gets files.

import { fresh } from "./code.js";
import { sleep } from "./conclave.js";
import { count, Damaged, Writer } from "./records.js";
import { toBase64 } from "./seal.js";
import { random, recordsOf, salted, Side, TransferError } from "./side.js";
import { TooLarge } from "./sink.js";
import { receiveDirect, receiveRelayed } from "./transports.js";

/** For so long the receiver waits for a direct connection before it goes through the relay. */
const DIRECT_WITHIN_MS = 4000;
const HELLO_EVERY_MS = 2000;
/** Without an answer for so long, the sender's page is asleep, or was closed. */
const ANSWERED_WITHIN_MS = 8000;
/** Without a record for so long, a direct run is given up and a relayed one is asked for again. */
const STALLED_MS = 10000;
/** Without a byte for so long, the other device is given up. */
const GONE_MS = 180000;
/** While the relay is used, it is asked so often whether the direct way works. */
const PROBE_EVERY_MS = 4000;
/** Runs that may fail one after the other without a single record. */
const FAILURES_MAX = 6;
const PAGES_MAX = 128;

/** What the sender's last word means here. */
const GOODBYES = { cancelled: "other_cancelled", left: "closed", unreadable_file: "other_unreadable_file" };
const BACK = new Error("the direct connection works again");

export class Receiver extends Side {
  #code;
  #b = toBase64(random(16));
  #calls = fresh().invite;
  #welcomed = null;
  #pages = null;
  #salt = null;
  #ended = null;
  #directBroken = false;
  #opened = null;
  #answered = 0;

  constructor(options) {
    super({ ...options, names: ["receiver", "sender"] });
  }

  /** Finds the sender; resolves with the list of its files. */
  async find(code) {
    this.#code = code;
    await this.start(code);
    // By the code of its own the sender sees whether this page is still open.
    await this.client.claim(this.id, { inviteCode: this.#calls });
    const welcome = new Promise((resolve, reject) => (this.#welcomed = { resolve, reject }));
    welcome.catch(() => {});
    this.#answered = performance.now();
    const left = () => ANSWERED_WITHIN_MS - (performance.now() - this.#answered);
    for (let tries = 0; left() > 0; tries++) {
      if (!this.#pages) await this.#hello(tries);
      const heard = await Promise.race([welcome, sleep(Math.min(HELLO_EVERY_MS, Math.max(0, left())), this.stop.signal)]);
      if (heard) return heard;
    }
    throw new TransferError("no_answer");
  }

  async #hello(tries) {
    let peer;
    try {
      peer = await this.client.lookup(this.#code.invite);
    } catch (error) {
      if (error.code !== "peer_not_found") throw error;
      if (tries >= 1) throw new TransferError("unknown_code");
      return;
    }
    if (peer !== this.peer) await this.meet(peer, this.#code.invite);
    await this.tell("hello", { b: this.#b, call: this.#calls });
  }

  async hear({ from, type, payload }) {
    if (from !== this.peer) return;
    if (payload?.unreadable) return this.#welcomed.reject(new TransferError("wrong_secret"));
    const letter = await this.letters.open(from, this.id, type, payload).catch(() => null);
    if (!letter) return;
    this.alive();
    if (letter.kind === "rtc") this.negotiated(type, letter.payload);
    else if (letter.kind === "there") void this.tell("here").catch(() => {});
    else if (letter.kind === "second") this.on({ phase: "second" });
    else if (letter.kind === "bye") this.#end(new TransferError(GOODBYES[letter.why] ?? letter.why));
    else if (letter.kind === "welcome" && letter.b === this.#b) this.#listed(letter, 0);
    else if (letter.kind === "list") this.#listed(letter, letter.page);
  }

  /** A page of the list came; they may overtake each other. */
  #listed({ a, pages, files }, page) {
    if (this.#salt) return;
    this.#answered = performance.now();
    this.#pages ??= new Map();
    if (!(page >= 0 && page < PAGES_MAX)) return;
    this.#pages.set(page, files);
    if (a) this.#pages.first = { a, count: pages ?? 1 };
    const first = this.#pages.first;
    if (first && this.#pages.size >= first.count) {
      this.#paired(first.a, [...Array(first.count).keys()].flatMap((page) => this.#pages.get(page)));
    }
  }

  #paired(a, files) {
    const sound = (file) => typeof file?.name === "string" && Number.isSafeInteger(file.size) && file.size >= 0;
    if (!files.length || !files.every(sound)) return this.#end(new TransferError("no_answer"));
    this.#salt = salted(a, this.#b);
    this.files = files;
    this.connect(true);
    if (this.link) {
      this.#opened = new Promise((resolve) => {
        this.link.pc.ondatachannel = ({ channel }) => {
          this.channel = channel;
          channel.onopen = resolve;
          if (channel.readyState === "open") resolve();
        };
      });
    }
    this.#welcomed.resolve(files);
  }

  /** The sender's page was closed. */
  left() {
    this.#end(new TransferError("closed"));
  }

  #end(trouble) {
    this.#ended = trouble;
    this.#welcomed?.reject(trouble);
    this.stop.abort(trouble);
  }

  async #way() {
    if (!this.link || this.#directBroken) return "relay";
    await Promise.race([this.#opened, sleep(DIRECT_WITHIN_MS, this.stop.signal)]);
    return this.channel?.readyState === "open" ? "direct" : "relay";
  }

  /**
   * Fetches everything; `roomFor(files)` gives what makes a sink for each, or throws `TooLarge`. Resolves with the files,
   * checked.
   */
  async accept(roomFor) {
    const sizes = this.files.map((file) => file.size);
    let writer = null;
    try {
      writer = new Writer(this.files, await roomFor(this.files));
      for (let run = 1, failures = 0; !writer.complete; run++) {
        const before = writer.done;
        const error = await this.#receive(writer, sizes, run).catch((error) => error);
        if (this.#ended) throw this.#ended;
        this.stop.signal.throwIfAborted();
        if (error instanceof Damaged) throw new TransferError("damaged", error.message);
        // There was room at first; something else has taken it.
        if (error?.name === "QuotaExceededError") throw new TransferError("too_large");
        if (error instanceof TransferError) throw error;
        failures = error && error !== BACK && writer.done === before ? failures + 1 : 0;
        if (failures > FAILURES_MAX) throw new TransferError("gone");
      }
    } catch (error) {
      const trouble = error instanceof TooLarge ? new TransferError("too_large") : error;
      await writer?.abandon();
      if (!this.#ended) await this.cancel(trouble.code ?? "failed");
      throw trouble;
    }
    await this.tell("done").catch(() => {});
    this.end();
    return writer.finished;
  }

  /** One run, until all is here or its way breaks. */
  async #receive(writer, sizes, run) {
    const via = await this.#way();
    const at = writer.at;
    const total = count(sizes, at);
    const records = await recordsOf(this.root, this.#salt, run, via);
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.stop.signal]);
    let heard = performance.now();
    const tell = () => this.on({ phase: "receiving", via, done: writer.done });
    const onbytes = () => {
      heard = performance.now();
      this.alive();
    };
    const open = (i, sealed) => records.open(i, sealed);
    const take = async (record) => {
      await writer.write(record);
      onbytes();
      tell();
    };
    const start = () => this.tell("start", { run, via, at }).catch(() => {});
    const watchdog = setInterval(() => {
      const quiet = performance.now() - heard;
      if (quiet < STALLED_MS) return;
      this.on({ phase: "stalled", via, done: writer.done });
      if (via === "direct") stop.abort(new Error("the direct connection is silent"));
      else if (quiet > GONE_MS) stop.abort(new TransferError("gone"));
      // The word to begin may have been lost with a node.
      else void start();
    }, STALLED_MS / 2);
    const scout = via === "relay" && this.link ? this.#scout(() => stop.abort(BACK)) : undefined;
    tell();
    try {
      const receiving =
        via === "direct"
          ? receiveDirect(this.channel, { run, total, open, take, signal })
          : receiveRelayed(this.transfers, { root: this.root, salt: this.#salt, run, total, open, take, onbytes, signal });
      receiving.catch(() => {});
      await start();
      await receiving;
    } catch (error) {
      if (via === "direct") this.#directBroken = true;
      throw error;
    } finally {
      clearInterval(watchdog);
      scout?.();
    }
  }

  /** Asks by the direct way, and calls `back` once it is answered there. Returns what ends it. */
  #scout(back) {
    const hear = ({ data }) => {
      if (typeof data !== "string" || !JSON.parse(data).probe) return;
      this.#directBroken = false;
      back();
    };
    let asked = null;
    const ask = () => {
      const { channel } = this;
      if (channel?.readyState !== "open" || channel.bufferedAmount) return;
      if (asked !== channel) channel.addEventListener("message", hear);
      asked = channel;
      channel.send('{"probe":1}');
    };
    const timer = setInterval(ask, PROBE_EVERY_MS);
    return () => {
      clearInterval(timer);
      asked?.removeEventListener("message", hear);
    };
  }
}
