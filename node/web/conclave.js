// The client of a Conclave cluster: signals, rooms and watches, on whatever node answers.
//
//   import { connect } from "./conclave.js";
//   const client = await connect({ urls: ["https://one.example", "https://two.example"] });
//
// One WebSocket, resumed on another node when one goes away; where no WebSocket gets through, signals travel by HTTP.
// Types and the meaning of each field: conclave.d.ts. Beside it: transfers.js and negotiate.js.

const SOCKET_OPENS_WITHIN_MS = 5000;
const ANSWERS_WITHIN_MS = 8000;
const SOCKET_TRIED_AGAIN_AFTER_MS = 30000;
const POLL_MS = 20000;
const RENEW_MS = 10000;
const BACK_OFF_MAX_MS = 8000;
const STEADY_MS = 5000;
const NODES_MAX = 64;
const WATCH_MS = 300;
const PING_MAX_MS = 20000;
// What a server closes with: too much at once, for example; taken over by another connection; and our own, refused.
const POLICY = 1008;
const REFUSED = 4000;
const FINAL = { [REFUSED]: "refused", 4009: "replaced" };
const AFTER_POLICY_MS = 5000;
// What passes: asked again.
const BUSY = ["no_leader", "overloaded", "shutting_down"];
const BUSY_MS = 300;

/** A refusal or a failure; `code` is what programs read. */
export class ConclaveError extends Error {
  constructor(code, message = code, status = 0) {
    super(message);
    this.name = "ConclaveError";
    this.code = code;
    this.status = status;
  }
}

const fail = (code, message) => {
  throw new ConclaveError(code, message);
};

/** Waits; ends sooner and with its reason if `signal` is aborted. */
export const sleep = (ms, signal) =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => (clearTimeout(timer), reject(signal.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", abort), resolve()), ms);
    signal?.addEventListener("abort", abort, { once: true });
  });

/** Full jitter: anything up to a bound that doubles, so that clients of a dead node do not come back all at once. */
const backOff = (failures) => Math.random() * Math.min(BACK_OFF_MAX_MS, 200 * 2 ** failures);

/** The JSON of a success; a refusal is thrown. */
export async function answer(request) {
  const reply = await request;
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new ConclaveError(body.error ?? "unknown", body.message, reply.status);
  return body;
}

const origin = (url) => url.replace(/\/+$/, "");

/** Handlers by event, called in the order in which they came. */
class Emitter {
  #handlers = new Map();

  /** Calls `handler` with every event of that name; returns what takes it off again. */
  on(name, handler) {
    const set = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, set.add(handler));
    return () => void set.delete(handler);
  }

  async emit(name, event) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) await handler(event);
  }
}

/** Opens a session, on whichever node answers first. */
export async function connect(options = {}) {
  const client = new Client(options);
  await client.opened;
  return client;
}

/** One session with the cluster. Made by `connect`. */
export class Client extends Emitter {
  #urls;
  #at = 0;
  #token;
  #discover;
  #socket = null;
  #session;
  #closed = null;
  #next = 1;
  // What was asked and not answered yet, by id.
  #asked = new Map();
  // The same for what was asked on this very connection, and is not asked again on the next.
  #now = new Map();
  #claim = null;
  #room = null;
  #watches = new Map();
  // Signals that were handed out and whose acknowledgement was not answered yet.
  #taken = new Set();
  #handing = Promise.resolve();
  #polling = null;
  #heard = 0;
  #opened;
  #stop = new AbortController();

  constructor({ urls = globalThis.location?.origin, token, session, discover = false, socket = true } = {}) {
    super();
    this.#urls = [urls].flat().filter(Boolean).map(origin);
    if (!this.#urls.length) fail("invalid_input", "no urls");
    this.#token = token;
    this.#session = session;
    this.#discover = discover;
    /** Whether everything since the last connection is here: null until known. */
    this.recovered = null;
    /** Resolves once the session is open. */
    this.opened = new Promise((resolve, reject) => (this.#opened = { resolve, reject }));
    this.opened.catch(() => {});
    if (socket && globalThis.WebSocket) this.#live();
    else this.#poll();
  }

  /** The session's id, a secret: whoever has it may resume the session. */
  get session() {
    return this.#session;
  }

  /** The nodes that are known, the one in use first. */
  get urls() {
    return this.#urls.map((_, i) => this.#urls[(this.#at + i) % this.#urls.length]);
  }

  /** How signals travel now: "socket", "http", or null while there is no connection. */
  get via() {
    return this.#socket ? "socket" : this.#polling ? "http" : null;
  }

  // ---- the connection

  async #live() {
    for (let failures = 0; !this.#closed;) {
      const began = Date.now();
      const end = await this.#attempt();
      if (this.#closed) return;
      this.#socket = null;
      if (FINAL[end.code]) return this.close(new ConclaveError(FINAL[end.code], end.reason));
      if (end.code === POLICY) end.retryAfterMs = AFTER_POLICY_MS;
      // One that broke at once counts like one that never was.
      failures = end.welcome && Date.now() - began > STEADY_MS ? 0 : failures + 1;
      this.#move(end.url);
      if (!end.welcome && failures > this.#urls.length) this.#poll();
      else if (end.welcome) void this.emit("state", { state: "reconnecting" });
      const pause = this.#polling ? SOCKET_TRIED_AGAIN_AFTER_MS * (0.5 + Math.random()) : backOff(failures);
      await sleep(end.retryAfterMs ?? pause, this.#stop.signal).catch(() => {});
    }
  }

  /** The next node's turn, or that of one that was named. */
  #move(url) {
    if (url) this.#learn([url]);
    const named = url ? this.#urls.indexOf(origin(url)) : -1;
    this.#at = named >= 0 ? named : (this.#at + 1) % this.#urls.length;
  }

  #learn(urls) {
    const secure = globalThis.location?.protocol === "https:";
    for (const url of urls.map(origin)) {
      // A page that came over TLS may not talk to what has none.
      const usable = /^https?:/.test(url) && !(secure && url.startsWith("http:"));
      if (usable && !this.#urls.includes(url) && this.#urls.length < NODES_MAX) this.#urls.push(url);
    }
  }

  /** A ticket for one use in place of the token, which must not stand in a URL. */
  async #ticket() {
    if (!this.#token) return "";
    const { ticket } = await answer(
      this.http("POST", "/api/v1/tickets", { timeoutMs: SOCKET_OPENS_WITHIN_MS }),
    );
    return `?ticket=${ticket}`;
  }

  /** One connection, from its beginning to its end. */
  async #attempt() {
    const base = this.#urls[this.#at].replace(/^http/, "ws");
    let ticket;
    try {
      ticket = await this.#ticket();
    } catch (error) {
      return { code: error.status === 401 || error.status === 403 ? REFUSED : 0, reason: error.message };
    }
    return new Promise((resolve) => {
      const end = { code: 0 };
      const socket = new WebSocket(`${base}/api/v1/socket${ticket}`);
      let timer;
      const over = (code, reason) => {
        clearInterval(timer);
        clearTimeout(patience);
        this.#stop.signal.removeEventListener("abort", leave);
        if (this.#socket === socket) this.#socket = null;
        socket.onclose = socket.onmessage = socket.onopen = null;
        socket.close();
        for (const { reject } of this.#now.values()) reject(new ConclaveError("disconnected"));
        resolve(Object.assign(end, { code, reason }));
      };
      const leave = () => over(1000);
      const patience = setTimeout(() => over(0), SOCKET_OPENS_WITHIN_MS);
      this.#stop.signal.addEventListener("abort", leave);
      socket.onclose = ({ code, reason }) => over(code, reason);
      socket.onmessage = ({ data }) => {
        this.#heard = Date.now();
        const frame = JSON.parse(data);
        if (frame.push === "drain") Object.assign(end, { retryAfterMs: frame.retryAfterMs, url: frame.url });
        else if (frame.push) this.#push(frame);
        else this.#answer(frame);
      };
      socket.onopen = async () => {
        try {
          const { epoch, offset } = this.#room?.position() ?? {};
          const known = { session: this.#session, epoch, offset };
          const resume = this.#session && known;
          const welcome = await this.#ask("hello", { resume }, socket);
          clearTimeout(patience);
          end.welcome = true;
          timer = this.#keepAlive(Math.min(welcome.pingMs, PING_MAX_MS), socket, () => over(0));
          await this.#restore(welcome, socket);
        } catch (error) {
          over(error.code === "forbidden" ? REFUSED : 0, error.message);
        }
      };
    });
  }

  /** A connection that says nothing for too long is given up, whatever the operating system believes of it. */
  #keepAlive(pingMs, socket, silent) {
    this.#heard = Date.now();
    return setInterval(() => {
      const quiet = Date.now() - this.#heard;
      if (quiet > pingMs + ANSWERS_WITHIN_MS) silent();
      else if (quiet >= pingMs / 2) this.#ask("ping", {}, socket).catch(() => {});
    }, pingMs / 2);
  }

  /** Puts a fresh connection where the last one was. */
  async #restore(welcome, socket) {
    this.recovered = this.#session ? welcome.recovered : null;
    this.#session = welcome.session;
    // Also where the session is the same: with it the invite code is renewed.
    if (this.#claim) await this.#claimAgain(socket);
    const room = this.#room;
    // One that was never entered is asked for below, with whatever else has no answer yet.
    if (room?.epoch !== undefined) {
      room.welcomed(welcome.room === room.name ? welcome : await this.#ask("join", room.position(), socket));
    }
    for (const watch of this.#watches.values())
      await this.#ask("watch", watch.what, socket).catch(watch.lost);
    this.#polling?.abort();
    this.#polling = null;
    this.#socket = socket;
    for (const { text } of this.#asked.values()) socket.send(text);
    this.#opened.resolve();
    if (this.#discover) this.#discoverNodes();
    void this.emit("state", { state: "open", via: "socket", recovered: this.recovered });
  }

  /** A claim of the session before may stand until its lease ends. */
  async #claimAgain(socket) {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#ask("claim", this.#claim, socket);
      } catch (error) {
        if (error.code !== "peer_in_use" || tries > 20) throw error;
        await sleep(1000, this.#stop.signal);
      }
    }
  }

  async #discoverNodes() {
    const { nodes } = await answer(this.http("GET", "/api/v1/nodes")).catch(() => ({ nodes: [] }));
    this.#learn(nodes.map((node) => node.url));
  }

  /** Ends the session. */
  close(error = new ConclaveError("closed")) {
    if (this.#closed) return;
    this.#closed = error;
    this.#stop.abort(error);
    this.#polling?.abort();
    for (const { reject } of this.#asked.values()) reject(error);
    this.#asked.clear();
    this.#opened.reject(error);
    void this.emit("state", { state: "closed", error });
  }

  // ---- questions and answers

  /** Asks on this very connection. */
  #ask(op, fields, socket) {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      // The connection's end leaves these unanswered; whoever restores the next one asks again.
      const timer = setTimeout(() => done(reject, new ConclaveError("timeout")), ANSWERS_WITHIN_MS);
      const done = (settle, value) => (clearTimeout(timer), this.#now.delete(id), settle(value));
      this.#now.set(id, { resolve: (frame) => done(resolve, frame), reject: (why) => done(reject, why) });
      socket.send(JSON.stringify({ id, op, ...fields }));
    });
  }

  /** Asks on this connection or on a later one, until there is an answer. */
  #call(op, fields) {
    if (this.#closed) return Promise.reject(this.#closed);
    if (this.#polling) return this.#byHttp(op, fields);
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      const text = JSON.stringify({ id, op, ...fields });
      const settle = (done) => (value) => (this.#asked.delete(id), done(value));
      this.#asked.set(id, { op, fields, text, resolve: settle(resolve), reject: settle(reject) });
      this.#socket?.send(text);
    });
  }

  #answer({ id, error, ...frame }) {
    const asked = this.#now.get(id) ?? this.#asked.get(id);
    if (BUSY.includes(error?.code) && asked?.text) {
      sleep(BUSY_MS).then(() => this.#asked.has(id) && this.#socket?.send(asked.text));
    } else if (error) asked?.reject(new ConclaveError(error.code, error.message));
    else asked?.resolve(frame);
  }

  #push(frame) {
    if (frame.push === "signal") this.#hand(frame);
    else if (!frame.room) this.#watches.get(frame.transfer ?? frame.session)?.tell(frame);
    else if (frame.room === this.#room?.name) this.#room.take(frame);
  }

  /** Hands signals out one after the other, and acknowledges each once its handlers are done with it. */
  #hand(signal) {
    const { seq } = signal;
    const again = seq !== undefined && this.#taken.has(seq);
    if (seq !== undefined) this.#taken.add(seq);
    this.#handing = this.#handing.then(async () => {
      if (!again) await this.emit("signal", signal).catch((error) => this.emit("error", error));
      if (seq === undefined || !this.#socket) return;
      await this.#ask("ack", { seq }, this.#socket).then(
        () => this.#taken.delete(seq),
        () => {},
      );
    });
  }

  // ---- peers

  /** Makes this session the one that gets the signals to `peerId`, and lets `inviteCode` lead to it. */
  async claim(peerId, { inviteCode } = {}) {
    const claim = { peerId, inviteCode };
    await this.#call("claim", claim);
    this.#claim = claim;
    if (this.#polling) this.#pollFor();
  }

  /** The peer that an invite code leads to. */
  async lookup(inviteCode) {
    return (await this.#call("lookup", { inviteCode })).peerId;
  }

  /** Leaves a signal for a peer. If the answer is lost on its way, the signal is sent again: at least once. */
  async signal(to, type, payload) {
    await this.#call("signal", { to, type, payload });
  }

  // ---- rooms

  /** Enters a room; the one entered before is left. */
  async join(name, handlers = {}) {
    const room = new Room(
      name,
      handlers,
      (op, fields) => this.#call(op, { room: name, ...fields }),
      () => {
        if (this.#room === room) this.#room = null;
      },
    );
    this.#room = room;
    room.welcomed(await this.#call("join", room.position()));
    return room;
  }

  // ---- watches

  /** Calls `handler` whenever a transfer or an exchange changes, first with how it is now. */
  watch(what, handler) {
    const key = what.transfer ?? what.session;
    let watch = this.#watches.get(key);
    if (watch?.now) handler(watch.now);
    if (!watch) {
      const handlers = new Set();
      const tell = (now) => ((watch.now = now), handlers.forEach((each) => each(now)));
      watch = { what, handlers, tell, lost: () => tell({ gone: true }) };
      this.#watches.set(key, watch);
      if (this.#polling) void this.#look(what, key, watch);
      else this.#call("watch", what).catch(watch.lost);
    }
    watch.handlers.add(handler);
    return () => {
      watch.handlers.delete(handler);
      if (watch.handlers.size || this.#watches.get(key) !== watch) return;
      this.#watches.delete(key);
      if (this.#socket) this.#ask("unwatch", what, this.#socket).catch(() => {});
    };
  }

  async #look(what, key, watch) {
    while (this.#watches.get(key) === watch && this.#polling && what.transfer) {
      await answer(this.http("GET", `/api/v1/transfers/${key}`)).then(
        ({ totalChunks: total, received: ranges, ...rest }) => {
          const received = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
          watch.tell({ ...rest, transfer: key, received, total, done: received === total, gone: false });
        },
        watch.lost,
      );
      await sleep(WATCH_MS);
    }
  }

  // ---- by HTTP, where no socket gets through

  #poll() {
    if (this.#polling || this.#closed) return;
    this.#polling = new AbortController();
    for (const { op, fields, resolve, reject } of [...this.#asked.values()]) {
      this.#byHttp(op, fields).then(resolve, reject);
    }
    this.#opened.resolve();
    if (this.#discover) this.#discoverNodes();
    void this.emit("state", { state: "open", via: "http", recovered: this.recovered });
    if (this.#claim) this.#pollFor();
    for (const [key, watch] of this.#watches) void this.#look(watch.what, key, watch);
  }

  async #byHttp(op, fields) {
    const { peerId, inviteCode, to, type, payload } = fields;
    if (op === "claim") {
      if (inviteCode) await this.#relay("register", { inviteCode, peerId });
    } else if (op === "lookup") {
      return this.#relay("lookup", { inviteCode });
    } else if (op === "signal") {
      const from = this.#claim?.peerId ?? fail("not_claimed");
      await this.#relay("signal", { from, to, type, payload });
    } else if (op !== "watch" && op !== "unwatch") {
      fail("unavailable");
    }
    return {};
  }

  async #relay(action, fields, signal) {
    // The key makes a repetition after a lost answer harmless.
    const headers = { "idempotency-key": crypto.randomUUID() };
    const body = JSON.stringify({ action, ...fields });
    return answer(this.http("POST", "/api/relay", { headers, body, signal }));
  }

  #pollFor() {
    const { signal } = this.#polling;
    const claim = this.#claim;
    const loop = async (every, step) => {
      while (!signal.aborted && this.#claim === claim) {
        let pause = every;
        await step().catch((error) => {
          pause = Math.max(every, AFTER_POLICY_MS);
          if (!signal.aborted) void this.emit("error", error);
        });
        await sleep(pause, signal).catch(() => {});
      }
    };
    void loop(0, async () => {
      const { messages } = await this.#relay("poll", { peerId: claim.peerId, waitMs: POLL_MS }, signal);
      for (const message of messages) this.#hand(message);
    });
    if (claim.inviteCode) void loop(RENEW_MS, () => this.#relay("register", claim, signal));
  }

  /**
   * One request, to whichever node answers it: another node's turn after a broken connection or a 503, and as long a
   * pause as `Retry-After` says. Any other answer is the answer.
   */
  async http(method, path, { headers = {}, body, signal, timeoutMs = 60000 } = {}) {
    const until = Date.now() + timeoutMs;
    if (this.#token) headers = { authorization: `Bearer ${this.#token}`, ...headers };
    if (typeof body === "string") headers = { "content-type": "application/json", ...headers };
    let at = this.#at;
    for (let failures = 0; ; failures++) {
      const url = this.#urls[at % this.#urls.length];
      let pause = backOff(failures);
      try {
        const limit = AbortSignal.timeout(POLL_MS + ANSWERS_WITHIN_MS);
        const within = signal ? AbortSignal.any([signal, limit]) : limit;
        const reply = await fetch(url + path, { method, headers, body, signal: within, cache: "no-store" });
        const busy = reply.status === 503 || reply.status === 429;
        if (!busy || Date.now() > until) {
          if (failures && !this.#socket) this.#at = at % this.#urls.length;
          return reply;
        }
        pause = Number(reply.headers.get("retry-after") || 1) * 1000 * (1 + Math.random() / 4);
      } catch (error) {
        signal?.throwIfAborted();
        if (this.#closed) throw this.#closed;
        if (Date.now() > until) fail("unreachable", `no node answers: ${error.message}`);
      }
      at++;
      await sleep(pause, signal);
    }
  }
}

/** A room this session is in. Each offset is delivered once, whatever is sent again. */
class Room {
  #handlers;
  #call;
  #left;

  constructor(name, handlers, call, left) {
    this.name = name;
    this.recovered = null;
    this.#handlers = handlers;
    this.#call = call;
    this.#left = left;
  }

  /** What was seen last; nothing of it before the room was entered. */
  position() {
    return { room: this.name, epoch: this.epoch, offset: this.offset };
  }

  welcomed({ epoch, offset, member, recovered }) {
    const first = this.epoch === undefined;
    // Another epoch counts anew: history was lost, and offsets begin again.
    if (epoch !== undefined && epoch !== this.epoch) [this.epoch, this.offset] = [epoch, first ? offset : 0];
    this.member = member ?? this.member;
    this.recovered = first ? null : recovered === true;
    if (!first) this.#handlers.onresume?.({ recovered: this.recovered });
  }

  take({ push, epoch, offset, ...event }) {
    if (push === "message") {
      if (offset !== undefined) {
        if (epoch === this.epoch && offset <= this.offset) return;
        [this.epoch, this.offset] = [epoch, offset];
      }
      this.#handlers.onmessage?.({ ...event, epoch, offset });
    } else if (push === "join") this.#handlers.onjoin?.(event.member);
    else if (push === "leave") this.#handlers.onleave?.(event.member);
  }

  /** Sends to all members, in one order for everybody; repeated until there is an answer, delivered once. */
  async publish(data) {
    const messageId = crypto.getRandomValues(new Uint32Array(1))[0] * 0x100000 + this.#count++;
    return this.#call("publish", { data, messageId });
  }
  #count = 1;

  /** Sends to whoever is there now, at most once. */
  async volatile(data) {
    await this.#call("publish", { data, volatile: true });
  }

  async members() {
    return (await this.#call("members", {})).members;
  }

  async leave() {
    this.#left();
    await this.#call("leave", {});
  }
}
