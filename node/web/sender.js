// The side that has files, and waits under a code.

import { sleep } from "./conclave.js";
import { bytesBefore, count, Reader } from "./records.js";
import { toBase64 } from "./seal.js";
import { random, recordsOf, salted, Side, TransferError } from "./side.js";
import { sendDirect, sendRelayed } from "./transports.js";

const UNREADABLE_MAX = 20;
/** Bytes of one letter's share of the list: sealed and in base64 it fits a signal. */
const PAGE_BYTES = 40000;
/** Bytes of the whole list: the mailbox that it waits in takes 4 MiB. */
const LIST_BYTES_MAX = 2 << 20;
/** After the last record the receiver checks and saves. */
const CHECKED_WITHIN_MS = 120000;
/** Another device with the same code waits for so long until it is known whether the first one is still there. */
const THERE_WITHIN_MS = 3000;

/** The list of files in pages that fit a letter each; null if it is too long. */
function pagesOf(files) {
  const pages = [[]];
  let [all, page] = [0, 0];
  for (const { name, size, type } of files) {
    const bytes = new TextEncoder().encode(JSON.stringify({ name, size, type })).length + 1;
    if (page + bytes > PAGE_BYTES && page) [page] = [0, pages.push([])];
    pages.at(-1).push({ name, size, type });
    page += bytes;
    all += bytes;
    if (bytes > PAGE_BYTES || all > LIST_BYTES_MAX) return null;
  }
  return pages;
}

export class Sender extends Side {
  #files;
  #pages;
  #hello = null;
  #salt = null;
  #run = 0;
  #running = null;
  #reader = null;
  #unreadable = 0;
  #asking = null;
  #delivered = false;
  #over = false;

  constructor(options) {
    super({ ...options, names: ["sender", "receiver"] });
    this.#files = options.files;
  }

  get #sizes() {
    return this.#files.map((file) => file.size);
  }

  async offer(code) {
    this.#pages = pagesOf(this.#files);
    if (!this.#pages) throw new TransferError("too_many_files");
    await this.start(code);
    await this.client.claim(this.id, { inviteCode: code.invite });
    this.stop.signal.throwIfAborted();
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
    if (from === this.peer) this.alive();
    // Not waited for: whether the first device is still there is learnt from the letters that come meanwhile.
    if (letter.kind === "hello") return void this.#greet(from, letter).catch(() => {});
    if (from !== this.peer) return;
    if (letter.kind === "rtc") this.negotiated(type, letter.payload);
    else if (letter.kind === "start") void this.#send(letter);
    else if (letter.kind === "done") this.#finish({ phase: "done", checked: true });
    else if (letter.kind === "bye" && letter.why === "left") this.left();
    else if (letter.kind === "bye") this.#finish({ phase: "failed", trouble: new TransferError(`other_${letter.why}`) });
  }

  async #greet(from, { b, call }) {
    if (from === this.peer) return b === this.#hello?.b ? this.#welcome() : undefined;
    if (this.peer) {
      // A second device knows the code. The first one keeps it, if it is still there.
      if (this.#asking) return;
      this.#asking = from;
      const first = this.peer;
      const stays = await this.#there().finally(() => (this.#asking = null));
      if (this.#over) return;
      if (stays) {
        this.on({ phase: "second" });
        await this.tell("bye", { why: "taken" }, "bye", from);
        return this.tell("second");
      }
      if (this.peer === first) {
        void this.tell("bye", { why: "taken_over" }, "bye", first).catch(() => {});
        this.#part();
      }
    }
    await this.meet(from, call);
    this.#hello = { a: toBase64(random(16)), b };
    this.#salt = salted(this.#hello.a, b);
    this.#reader = new Reader(this.#files);
    await this.#welcome();
    if (this.peer !== from) return;
    this.on({ phase: "paired" });
    this.connect(false);
    if (!this.link) return;
    const channel = (this.channel = this.link.pc.createDataChannel("records"));
    // The receiver asks whether a way that was silent works again.
    channel.addEventListener("message", ({ data }) => {
      if (typeof data === "string" && JSON.parse(data).probe) channel.send(data);
    });
  }

  /** Whether the first device answers. */
  async #there() {
    const before = this.heard;
    const asked = performance.now();
    void this.tell("there").catch(() => {});
    while (performance.now() - asked < THERE_WITHIN_MS && this.heard === before && this.peer)
      await sleep(50, this.stop.signal);
    return this.heard !== before && Boolean(this.peer);
  }

  async #welcome() {
    const { a, b } = this.#hello;
    const [files, ...more] = this.#pages;
    await this.tell("welcome", { a, b, pages: this.#pages.length, files });
    for (const [i, files] of more.entries()) await this.tell("list", { page: i + 1, files });
  }

  #part() {
    this.#running?.abort(new Error("the receiver is another one"));
    this.#run = 0;
    this.#delivered = false;
    this.part();
  }

  /** The receiver's page was closed or reloaded: the code is free again. */
  left() {
    if (this.#over) return;
    if (this.#delivered) return this.#finish({ phase: "done", checked: false });
    this.#part();
    this.on({ phase: "left" });
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
          throw Object.assign(new TransferError("unreadable_file"), { cause });
        }),
      );
    const onreceived = (received) => {
      if (!signal.aborted) this.on({ phase: "sending", via, done: bytesBefore(sizes, at, received) });
    };
    onreceived(0);
    try {
      if (via === "direct") await sendDirect(this.channel, { run, total, seal, onreceived, signal });
      else await sendRelayed(this.transfers, { root: this.root, salt, run, total, seal, onreceived, signal });
      this.#delivered = true;
      this.on({ phase: "checking" });
      await sleep(CHECKED_WITHIN_MS, signal);
      this.#finish({ phase: "done", checked: false });
    } catch (error) {
      if (error instanceof TransferError && error.code !== "cancelled") {
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
