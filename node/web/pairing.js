// Two pages and one code: how they find each other, agree on keys and on a way, and go on after a break.
//
// The receiver leads. It says hello under the code, gets the list of files, and asks for runs: "send me records from
// here on, this way". When a way breaks it asks for another run from where it is. The sender obeys the latest run. All
// of it travels as sealed letters inside signals, so neither the server nor anybody on the way can take part.

import { answer, sleep } from "./conclave.js";
import { negotiate } from "./negotiate.js";
import { bytesBefore, count, Damaged, Reader, Writer } from "./records.js";
import { fromBase64, key, Letters, Records, root, toBase64 } from "./seal.js";
import { TooLarge } from "./sink.js";
import { receiveDirect, receiveRelayed, sendDirect, sendRelayed } from "./ways.js";

/** For so long the receiver waits for a direct connection before it goes through the relay. */
const DIRECT_WITHIN_MS = 4000;
const HELLO_EVERY_MS = 3000;
const HELLOS_MAX = 8;
/** Without a record for so long, a direct run is given up and a relayed one is asked for again. */
const STALLED_MS = 10000;
/** Without a record for so long, the other device is given up. */
const GONE_MS = 180000;
/** Runs that may fail one after the other without a single record. */
const FAILURES_MAX = 6;
const UNREADABLE_MAX = 20;
const LIST_CHARS_MAX = 40000;
/** After the last record the receiver checks and saves. */
const CHECKED_WITHIN_MS = 120000;

/** What a person should be told; `code` says which. */
export class Trouble extends Error {
  constructor(code, detail = "") {
    super(detail || code);
    this.code = code;
  }
}

const random = (bytes) => crypto.getRandomValues(new Uint8Array(bytes));
const freshPeer = () => [...random(16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** The keys of one pairing: both sides bring randomness, so no key ever comes again. */
const salted = (a, b) => Uint8Array.of(...fromBase64(a), ...fromBase64(b));
const recordsOf = async (secret, salt, run, via) =>
  new Records(await key(secret, salt, `records of run ${run}, ${via}`));

/** What both sides have. */
class Side {
  constructor({ client, transfers, relayOnly, on, names }) {
    this.client = client;
    this.transfers = transfers;
    this.direct = !relayOnly && "RTCPeerConnection" in globalThis;
    this.on = on;
    this.names = names;
    this.id = freshPeer();
    this.peer = null;
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
  }

  async tell(kind, body = {}, type = "ready") {
    const letter = await this.letters.seal(this.id, this.peer, type, { kind, ...body });
    await this.client.signal(this.peer, type, letter);
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
    this.stop.abort(new Trouble("cancelled"));
    this.link?.close();
  }

  /** Ends it and tells the other side, if there is one. */
  async cancel(why = "cancelled") {
    if (this.peer) await Promise.race([this.tell("bye", { why }, "bye").catch(() => {}), sleep(1000)]);
    this.end();
  }
}

/** Has files, waits under a code. */
export class Sender extends Side {
  #files;
  #hello = null;
  #salt = null;
  #run = 0;
  #running = null;
  #reader = null;
  #unreadable = 0;
  #over = false;

  constructor(options) {
    super({ ...options, names: ["sender", "receiver"] });
    this.#files = options.files;
  }

  get #sizes() {
    return this.#files.map((file) => file.size);
  }

  get #list() {
    return this.#files.map(({ name, size, type }) => ({ name, size, type }));
  }

  async offer(code) {
    if (JSON.stringify(this.#list).length > LIST_CHARS_MAX) throw new Trouble("too_many_files");
    await this.start(code);
    await this.client.claim(this.id, { inviteCode: code.invite });
    this.on({ phase: "waiting" });
  }

  async hear({ from, type, payload }) {
    let letter;
    try {
      letter = await this.letters.open(from, this.id, type, payload);
    } catch {
      // Somebody has the first part of the code alone. Who mistyped the second should learn it.
      if (type === "ready" && this.#unreadable++ < UNREADABLE_MAX) {
        await this.client.signal(from, "bye", { unreadable: true }).catch(() => {});
      }
      return;
    }
    if (!letter || this.#over) return;
    if (letter.kind === "hello") return this.#welcome(from, letter);
    if (from !== this.peer) return;
    if (letter.kind === "rtc") this.negotiated(type, letter.payload);
    else if (letter.kind === "start") void this.#send(letter);
    else if (letter.kind === "done") this.#finish({ phase: "done", checked: true });
    else if (letter.kind === "bye")
      this.#finish({ phase: "failed", trouble: new Trouble(`other_${letter.why}`) });
  }

  async #welcome(from, { b }) {
    const again = from === this.peer && b === this.#hello?.b;
    if (!again) {
      this.#running?.abort(new Error("another receiver"));
      this.peer = from;
      this.#run = 0;
      this.#hello = { a: toBase64(random(16)), b };
      this.#salt = salted(this.#hello.a, b);
      this.#reader = new Reader(this.#files);
    }
    const { a } = this.#hello;
    await this.tell("welcome", { a, b, files: this.#list });
    if (again) return;
    this.on({ phase: "paired" });
    this.connect(false);
    if (this.link) this.channel = this.link.pc.createDataChannel("records");
  }

  async #send({ run, via, at }) {
    // A run's records are sealed once: asked for again, it goes on as it is.
    if (run <= this.#run) return;
    this.#run = run;
    this.#running?.abort(new Error("another run"));
    const running = (this.#running = new AbortController());
    const signal = AbortSignal.any([running.signal, this.stop.signal]);
    const [sizes, salt, reader] = [this.#sizes, this.#salt, this.#reader];
    const total = count(sizes, at);
    const records = await recordsOf(this.root, salt, run, via);
    const seal = async (i) =>
      records.seal(
        i,
        await reader.read(at, i).catch((cause) => {
          throw Object.assign(new Trouble("unreadable_file"), { cause });
        }),
      );
    const onreceived = (received) => {
      if (!signal.aborted) this.on({ phase: "sending", via, done: bytesBefore(sizes, at, received) });
    };
    onreceived(0);
    try {
      if (via === "direct") await sendDirect(this.channel, { run, total, seal, onreceived, signal });
      else await sendRelayed(this.transfers, { root: this.root, salt, run, total, seal, onreceived, signal });
      this.on({ phase: "checking" });
      await sleep(CHECKED_WITHIN_MS, signal);
      this.#finish({ phase: "done", checked: false });
    } catch (error) {
      if (error instanceof Trouble && error.code !== "cancelled") {
        await this.cancel("unreadable_file");
        this.#finish({ phase: "failed", trouble: error });
      }
      // Else the way broke, or the receiver wants another: it says so when it does.
    }
  }

  #finish(state) {
    if (this.#over) return;
    this.#over = true;
    this.on(state);
    this.end();
  }
}

/** Has a code, gets files. */
export class Receiver extends Side {
  #code;
  #b = toBase64(random(16));
  #welcomed = null;
  #salt = null;
  #ended = null;
  #directBroken = false;
  #opened = null;

  constructor(options) {
    super({ ...options, names: ["receiver", "sender"] });
  }

  /** Finds the sender; resolves with the list of its files. */
  async find(code) {
    this.#code = code;
    await this.start(code);
    await this.client.claim(this.id);
    const welcome = new Promise((resolve, reject) => (this.#welcomed = { resolve, reject }));
    welcome.catch(() => {});
    for (let tries = 0; tries < HELLOS_MAX; tries++) {
      await this.#hello(tries);
      const heard = await Promise.race([welcome, sleep(HELLO_EVERY_MS, this.stop.signal)]);
      if (heard) return heard;
    }
    throw new Trouble("no_answer");
  }

  async #hello(tries) {
    try {
      this.peer = await this.client.lookup(this.#code.invite);
    } catch (error) {
      if (error.code !== "peer_not_found") throw error;
      if (tries >= 1) throw new Trouble("unknown_code");
      return;
    }
    await this.tell("hello", { b: this.#b });
  }

  async hear({ from, type, payload }) {
    if (from !== this.peer) return;
    if (payload?.unreadable) return this.#welcomed.reject(new Trouble("wrong_secret"));
    const letter = await this.letters.open(from, this.id, type, payload).catch(() => null);
    if (!letter) return;
    if (letter.kind === "rtc") this.negotiated(type, letter.payload);
    else if (letter.kind === "bye")
      this.#end(new Trouble(letter.why === "cancelled" ? "other_cancelled" : letter.why));
    else if (letter.kind === "welcome" && letter.b === this.#b && !this.#salt) this.#paired(letter);
  }

  #paired({ a, files }) {
    const sound = ({ name, size }) => typeof name === "string" && Number.isSafeInteger(size) && size >= 0;
    if (!Array.isArray(files) || !files.length || !files.every(sound))
      return this.#end(new Trouble("no_answer"));
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

  /** Fetches everything; `open(file)` makes a sink. Resolves with the files, checked. */
  async accept(open) {
    const writer = new Writer(this.files, open);
    const sizes = this.files.map((file) => file.size);
    try {
      for (let run = 1, failures = 0; !writer.complete; run++) {
        const before = writer.done;
        const error = await this.#receive(writer, sizes, run).catch((error) => error);
        if (this.#ended) throw this.#ended;
        this.stop.signal.throwIfAborted();
        if (error instanceof Damaged) throw new Trouble("damaged", error.message);
        if (error instanceof TooLarge || error?.name === "QuotaExceededError") throw new Trouble("too_large");
        if (error instanceof Trouble) throw error;
        failures = error && writer.done === before ? failures + 1 : 0;
        if (failures > FAILURES_MAX) throw new Trouble("gone");
      }
    } catch (error) {
      await writer.abandon();
      await this.cancel(error.code ?? "failed");
      throw error;
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
    let heard = Date.now();
    const tell = () => this.on({ phase: "receiving", via, done: writer.done });
    const take = async (i, sealed) => {
      await writer.write(await records.open(i, sealed));
      heard = Date.now();
      tell();
    };
    const start = () => this.tell("start", { run, via, at }).catch(() => {});
    const watchdog = setInterval(() => {
      const quiet = Date.now() - heard;
      if (quiet < STALLED_MS) return;
      this.on({ phase: "stalled", via, done: writer.done });
      if (via === "direct") stop.abort(new Error("the direct connection is silent"));
      else if (quiet > GONE_MS) stop.abort(new Trouble("gone"));
      // The word to begin may have been lost with a node.
      else void start();
    }, STALLED_MS / 2);
    tell();
    try {
      const receiving =
        via === "direct"
          ? receiveDirect(this.channel, { run, total, take, signal })
          : receiveRelayed(this.transfers, { root: this.root, salt: this.#salt, run, total, take, signal });
      receiving.catch(() => {});
      await start();
      await receiving;
    } catch (error) {
      if (via === "direct") this.#directBroken = true;
      throw error;
    } finally {
      clearInterval(watchdog);
    }
  }
}
