// The client of a Conclave cluster: signals, rooms and watches, on whatever node answers.
//
//   import { connect } from "./conclave.js";
//   const client = await connect({ urls: ["https://one.example", "https://two.example"] });
//
// One WebSocket, resumed on another node when one goes away; where no WebSocket gets through, signals travel by HTTP.
// Types and the meaning of each field: conclave.d.ts. Beside it: transfers.js and negotiate.js.

import { answer, checkData, checkNames, ConclaveError, sleep } from "./errors.js";
import { Fallback, Polls } from "./fallback.js";
import { backOff, Nodes } from "./nodes.js";
import { Room } from "./room.js";
import { BUSY, Line, Request } from "./socket.js";

export { answer, ConclaveError, sleep } from "./errors.js";

const CONNECTS_WITHIN_MS = 30000;
const SOCKET_OPENS_WITHIN_MS = 5000;
const RETRY_MAX_MS = 4000;
/** While signals go by HTTP, a socket is tried again after this, which doubles up to the second number. */
const SOCKET_AGAIN_MS = [1000, 30000];
/** While signals go by HTTP, it is asked so often whether a node is there at all. */
const FALLBACK_CHECK_MS = 3000;
/** For so long the last poll is asked for again, while what a socket pushes waits. */
const LAST_POLL_WITHIN_MS = 8000;
const STEADY_MS = 5000;
const PING_MAX_MS = 20000;
// What a server closes with: too much at once, for example; taken over by another connection; and our own, refused.
const POLICY = 1008;
const REFUSED = 4000;
const FINAL = { [REFUSED]: "refused", 4009: "replaced" };
const AFTER_POLICY_MS = 5000;
/** Requests that may wait for an answer. */
const QUEUE_MAX = 10000;
const QUEUE_BYTES_MAX = 64 << 20;
/** Signals that wait for a listener. The server holds as many back for one peer. */
const SIGNALS_MAX = 512;
/** Characters of a peer id. By HTTP nobody is asked when one is claimed, so the client looks for itself. */
const PEER_CHARS_MAX = 256;
/** For so long a claim is tried while another session holds the peer id: one whose lease is running out. */
const CLAIM_WAIT_MS = 5000;
const CLAIM_AGAIN_WAIT_MS = 20000;
/** What the server had no time for, a watch or a token, is asked for again after this. */
const AGAIN_MS = 1000;
const PASSING = [...BUSY, "rate_limited", "timeout"];

/** A broken connection is no reason to throw, any refusal is. */
const whereItBroke = (error) => {
  if (error.code !== "disconnected") throw error;
};

/** Handlers by event, called in the order in which they came. */
class Emitter {
  #handlers = new Map();
  #waiting = new Map();

  /** Calls `handler` with every event of that name; returns what takes it off again. */
  on(name, handler) {
    const set = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, set.add(handler));
    this.#waiting.get(name)?.resolve();
    this.#waiting.delete(name);
    return () => void set.delete(handler);
  }

  /** Waits until somebody listens. */
  async listened(name) {
    if (this.#handlers.get(name)?.size) return;
    if (!this.#waiting.has(name)) {
      const waiting = {};
      waiting.promise = new Promise((resolve) => (waiting.resolve = resolve));
      this.#waiting.set(name, waiting);
    }
    await this.#waiting.get(name).promise;
  }

  /** Never throws: a handler's mistake is an event, too. */
  async emit(name, event) {
    for (const handler of [...(this.#handlers.get(name) ?? [])]) await this.run(() => handler(event), name);
  }

  /** Runs a handler of the program. What it throws, at once or later, is an `error` event and harms nothing else. */
  async run(handler, name) {
    try {
      await handler();
    } catch (error) {
      if (name !== "error") await this.emit("error", error);
    }
  }
}

/** What a client's `trouble` came from. */
let causeOf;

/** Opens a session, on whichever node answers first. */
export async function connect(options = {}) {
  const client = new Client(options);
  const { timeoutMs = CONNECTS_WITHIN_MS } = options;
  const late = () => {
    const message = `No node answered within ${timeoutMs / 1000} s. ${client.trouble ?? ""}`.trim();
    client.close(new ConclaveError("unreachable", message, 0, causeOf(client)));
  };
  const timer = Number.isFinite(timeoutMs) ? setTimeout(late, timeoutMs) : undefined;
  await client.opened.finally(() => clearTimeout(timer));
  return client;
}

/** One session with the cluster. Made by `connect`. */
export class Client extends Emitter {
  #nodes;
  #discover;
  #WebSocket;
  #retryMaxMs;
  #pingMs;
  #line = null;
  #fallback = null;
  #session;
  #closed = null;
  #state = null;
  #next = 1;
  // What was asked and not answered yet, by id; ids ascend.
  #asked = new Map();
  #askedBytes = 0;
  #claim = null;
  #room = null;
  // The join that was asked for last, while it has no answer.
  #entering = null;
  #watches = new Map();
  // The polls while signals go by HTTP, and the last of them, while it is asked for again.
  #polls = null;
  #leaving = null;
  // Signals that were handed out and whose acknowledgement was not answered yet; up to which it is wanted, and asked.
  #taken = new Set();
  #handled = 0;
  #acknowledging = null;
  #handing = Promise.resolve();
  #waiting = 0;
  #opened;
  #stop = new AbortController();
  #wake = new AbortController();
  #cause;

  static {
    causeOf = (client) => client.#cause;
  }

  constructor({
    urls = globalThis.location?.origin,
    token,
    getToken,
    session,
    discover = false,
    socket = true,
    WebSocket = globalThis.WebSocket,
    retryMaxMs = RETRY_MAX_MS,
    pingMs = PING_MAX_MS,
  } = {}) {
    super();
    this.#nodes = new Nodes({ urls, token, getToken, stop: this.#stop.signal });
    this.#session = session;
    this.#discover = discover;
    this.#WebSocket = socket ? WebSocket : undefined;
    this.#retryMaxMs = retryMaxMs;
    this.#pingMs = pingMs;
    /** Whether everything since the last connection is here: null until known. */
    this.recovered = null;
    /** Why there is no connection, in a sentence. */
    this.trouble = null;
    /** Resolves once the session is open. */
    this.opened = new Promise((resolve, reject) => (this.#opened = { resolve, reject }));
    this.opened.catch(() => {});
    this.#listenToTheWorld();
    void this.#live();
  }

  /** The session's id, a secret: whoever has it may resume the session. */
  get session() {
    return this.#session;
  }

  /** The nodes that are known, the one in use first. */
  get urls() {
    return this.#nodes.all;
  }

  /** How signals travel now: "socket", "http", or null while there is no connection. */
  get via() {
    return this.#line?.welcome ? "socket" : this.#fallback ? "http" : null;
  }

  // ---- the connection

  /** A network that comes back, or a page that is looked at again: no reason to wait any longer. */
  #listenToTheWorld() {
    const wake = () => {
      if (globalThis.document?.visibilityState === "hidden") return;
      this.#line?.check();
      this.#hurry();
    };
    for (const [target, name] of [
      [globalThis.window, "online"],
      [globalThis.document, "visibilitychange"],
    ])
      target?.addEventListener?.(name, wake, { signal: this.#stop.signal });
    this.#nodes.onfailure = () => this.#fallback && this.#hurry();
  }

  #hurry() {
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  async #pause(ms) {
    const signal = AbortSignal.any([this.#stop.signal, this.#wake.signal]);
    await sleep(ms, signal).catch(() => {});
  }

  async #live() {
    // Connections that broke, or never were, one after the other.
    for (let failures = 0; !this.#closed;) {
      if (failures >= this.#nodes.count || !this.#WebSocket) {
        // Every node had its turn: now they are asked by HTTP, all at once, until one answers.
        if (!(await this.#reach(failures))) continue;
        if (!this.#WebSocket) {
          await this.#byHttpUntil(Infinity);
          continue;
        }
      }
      const began = performance.now();
      const end = await this.#attempt();
      if (this.#closed) return;
      if (FINAL[end.code]) return this.close(end.error ?? new ConclaveError(FINAL[end.code], end.reason));
      if (end.welcome) this.#tell({ state: "reconnecting" });
      // One that broke at once counts like one that never was.
      const steady = end.welcome && performance.now() - began > STEADY_MS;
      failures = steady ? 1 : failures + 1;
      if (!end.welcome && failures > this.#nodes.count) {
        // HTTP was answered a moment ago and the socket was not: sockets do not get through.
        await this.#byHttpUntil(Math.min(SOCKET_AGAIN_MS[0] * 2 ** (failures - this.#nodes.count), SOCKET_AGAIN_MS[1]));
        continue;
      }
      this.#nodes.move(end.url);
      if (end.code === POLICY) end.retryAfterMs = AFTER_POLICY_MS;
      await this.#pause(end.retryAfterMs ?? (end.welcome ? backOff(failures) : 0));
    }
  }

  /** Asks all nodes by HTTP; true once one answers. */
  async #reach(failures) {
    try {
      const nodes = await this.#nodes.probe();
      if (this.#discover) this.#nodes.learn(nodes.map((node) => node.url));
      return true;
    } catch (error) {
      if (this.#closed) return false;
      if (error.status === 401) {
        this.close(error);
        return false;
      }
      this.#troubled(error);
      if (this.#fallback) this.#endFallback();
      await this.#pause(backOff(failures + 4, this.#retryMaxMs) + 100);
      return false;
    }
  }

  /** There is no connection, and this is why. */
  #troubled(error) {
    this.trouble = error.message;
    this.#cause = error.cause ?? error;
  }

  /** Signals go by HTTP for a while, or until no node answers any more. */
  async #byHttpUntil(ms) {
    if (this.#closed) return;
    if (!this.#fallback) {
      this.#fallback = new Fallback(this.#nodes, {
        polls: () => this.#polls,
        failed: (error) => void this.emit("error", error),
      });
      for (const request of this.#asked.values()) this.#fallback.carry(request);
      if (this.#claim) this.#fallback.poll(this.#claim);
      for (const watch of this.#watches.values()) this.#fallback.look(watch);
      this.trouble = null;
      this.#tell({ state: "open", via: "http", recovered: this.recovered });
      this.#opened.resolve();
    }
    for (const end = performance.now() + ms; performance.now() < end && !this.#closed;) {
      await this.#pause(Math.min(FALLBACK_CHECK_MS, end - performance.now()));
      if (!(await this.#nodes.probe().then(() => true, () => false))) return this.#endFallback();
    }
  }

  #endFallback() {
    this.#fallback?.end();
    this.#fallback = null;
    this.#tell({ state: "reconnecting" });
  }

  /** A socket has the signals from now on. What was taken by HTTP, and not answered, comes before what it pushes. */
  #leaveHttp() {
    this.#fallback?.end();
    this.#fallback = null;
    if (this.#leaving || !this.#polls?.pending) return;
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(LAST_POLL_WITHIN_MS)]);
    this.#leaving = this.#polls.ask(0, signal).catch(() => {}).finally(() => (this.#leaving = null));
  }

  #tell(state) {
    if (this.#state === "closed" || (this.#state === state.state && state.state !== "open")) return;
    this.#state = state.state;
    void this.emit("state", state);
  }

  /** A ticket for one use in place of the token, which must not stand in a URL. */
  async #ticket() {
    if (!(await this.#nodes.credential())) return "";
    const { ticket } = await answer(
      this.#nodes.http("POST", "/api/v1/tickets", { timeoutMs: SOCKET_OPENS_WITHIN_MS }),
    );
    return `?ticket=${ticket}`;
  }

  /** One connection, from its beginning to its end. */
  async #attempt() {
    let ticket;
    try {
      ticket = await this.#ticket();
    } catch (error) {
      this.#troubled(error);
      return { code: error.status === 401 || error.status === 403 ? REFUSED : 0, error };
    }
    // Nothing would end a connection that is opened after the goodbye.
    if (this.#closed) return { code: 0 };
    const url = `${this.#nodes.current.replace(/^http/, "ws")}/api/v1/socket${ticket}`;
    return new Promise((resolve) => {
      const end = { code: 0 };
      const line = (this.#line = new Line(this.#WebSocket, url, {
        open: async () => {
          try {
            await this.#greet(line, () => clearTimeout(patience));
          } catch (error) {
            end.code = error.code === "forbidden" || error.code === "unauthorized" ? REFUSED : 0;
            end.error = error;
            line.leave();
          }
        },
        push: (frame) => {
          if (frame.push === "drain") Object.assign(end, { retryAfterMs: frame.retryAfterMs, url: frame.url });
          else this.#push(frame);
        },
        doubt: (doubted) => this.#tell(doubted ? { state: "waiting" } : this.#openState()),
        over: (code, reason) => {
          clearTimeout(patience);
          if (this.#line === line) this.#line = null;
          end.welcome = line.welcome;
          resolve(end.code ? end : Object.assign(end, { code, reason }));
        },
      }));
      const patience = setTimeout(() => line.leave(), SOCKET_OPENS_WITHIN_MS);
    });
  }

  #ask(op, fields, line = this.#line) {
    return line ? line.ask(op, fields, this.#next++) : Promise.reject(new ConclaveError("disconnected"));
  }

  #openState() {
    return { state: "open", via: "socket", recovered: this.recovered };
  }

  /** Puts a fresh connection where the last one was. */
  async #greet(line, heard) {
    const { epoch, offset } = this.#room?.position() ?? {};
    const resume = this.#session ? { session: this.#session, epoch, offset } : undefined;
    const welcome = await this.#ask("hello", { resume }, line);
    heard();
    this.recovered = this.#session ? welcome.recovered : null;
    this.#session = welcome.session;
    // Also where the session is the same: with it the invite code is renewed.
    if (this.#claim) await this.#claimAgain(line);
    const room = this.#room;
    // One that is being entered is asked for below, with whatever else has no answer yet; there it may be already.
    const joins = [...this.#asked.values()].some(({ op, fields }) => op === "join" && fields.room === welcome.room);
    if (room && !joins) {
      const back = welcome.room === room.name ? welcome : await this.#ask("join", room.position(), line);
      const { members } = back.members ? back : await this.#ask("members", { room: room.name }, line);
      room.resumed({ ...back, members });
    }
    for (const watch of this.#watches.values()) await this.#watchOn(line, watch);
    // Watches take a broken connection for no failure of theirs.
    if (this.#line !== line) throw new ConclaveError("disconnected");
    this.#leaveHttp();
    this.trouble = null;
    line.welcome = true;
    for (const request of this.#asked.values()) line.send(request);
    // What was handled until here, or never acknowledged on the connection before.
    if (this.#handled && this.#taken.size) this.#acknowledge(this.#handled);
    line.start(Math.min(welcome.pingMs ?? PING_MAX_MS, this.#pingMs));
    if (this.#discover) void this.#nodes.discover();
    this.#opened.resolve();
    this.#tell(this.#openState());
  }

  /** A claim of the session before may stand until its lease ends. One that is lost for good is told. */
  async #claimAgain(line) {
    for (const until = performance.now() + CLAIM_AGAIN_WAIT_MS; ;) {
      try {
        return await this.#ask("claim", this.#claim, line);
      } catch (error) {
        const inUse = error.code === "peer_in_use";
        if (inUse && performance.now() < until) await sleep(1000, this.#stop.signal);
        else if (inUse || error.code === "invite_code_in_use") {
          this.#claim = null;
          return void this.emit("error", error);
        } else throw error;
      }
    }
  }

  /** Ends the session: the claimed peer id is free at once. */
  close(error = new ConclaveError("closed")) {
    if (this.#closed) return;
    this.#closed = error;
    this.#line?.goodbye();
    this.#fallback?.end();
    this.#stop.abort(error);
    for (const { reject } of [...this.#asked.values()]) reject(error);
    this.#opened.reject(error);
    this.#tell({ state: "closed", error });
  }

  // ---- questions and answers

  /** Asks on this connection or on a later one, until there is an answer; `take` gets it before the promise does. */
  #call(op, fields, take) {
    if (this.#closed) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      if (this.#asked.size >= QUEUE_MAX || this.#askedBytes > QUEUE_BYTES_MAX) throw new ConclaveError("queue_full");
      const done = (request) => {
        if (this.#asked.delete(request.id)) this.#askedBytes -= request.bytes;
      };
      const request = new Request(this.#next++, op, fields, {
        resolve: (frame) => (done(request), take?.(frame), resolve(frame)),
        reject: (error) => (done(request), reject(error)),
      });
      this.#asked.set(request.id, request);
      this.#askedBytes += request.bytes;
      if (this.#fallback) this.#fallback.carry(request);
      else if (this.#line?.welcome) this.#line.send(request);
    });
  }

  #push(frame) {
    if (frame.push === "signal") {
      this.#leaveHttp();
      if (this.#leaving) void this.#leaving.then(() => this.#hand(frame));
      else this.#hand(frame);
    } else if (frame.push === "token_expiring") void this.#renew(this.#line);
    else if (!frame.room) this.#watches.get(frame.transfer ?? frame.session)?.tell(frame);
    else if (frame.room === this.#room?.name) this.#room.take(frame);
  }

  /** Goes on under another token, on this very connection. Where that fails the old one counts until its end. */
  async #renew(line, renewed = this.#nodes.renew()) {
    try {
      if (await renewed) await this.#ask("renew", { token: this.#nodes.token }, line);
    } catch (error) {
      if (PASSING.includes(error.code)) setTimeout(() => this.#line === line && this.#renew(line, true), AGAIN_MS);
      else if (error.code !== "disconnected") void this.emit("error", error);
    }
  }

  /**
   * Hands signals out one after the other, and acknowledges each once its handlers are done with it. While nobody
   * listens they wait, `SIGNALS_MAX` of them; what comes beyond that is left to the server, which sends it again.
   */
  #hand(signal) {
    const { seq } = signal;
    const again = seq !== undefined && this.#taken.has(seq);
    if (!again && this.#waiting >= SIGNALS_MAX) return;
    if (seq !== undefined) this.#taken.add(seq);
    this.#waiting++;
    this.#handing = this.#handing.then(async () => {
      await this.listened("signal");
      this.#waiting--;
      if (!again) await this.emit("signal", signal);
      if (seq !== undefined) this.#acknowledge(seq);
    });
  }

  /** One acknowledgement at a time, each for everything that was handled until then. */
  #acknowledge(seq) {
    this.#handled = Math.max(this.#handled, seq);
    if (this.#acknowledging || !this.#line?.welcome) return;
    const upTo = this.#handled;
    this.#acknowledging = this.#ask("ack", { seq: upTo })
      .then(() => {
        for (const taken of this.#taken) if (taken <= upTo) this.#taken.delete(taken);
        return true;
      })
      .catch(() => false)
      .then((done) => {
        this.#acknowledging = null;
        if (done && this.#handled > upTo) this.#acknowledge(this.#handled);
      });
  }

  // ---- peers

  /**
   * Makes this session the one that gets the signals to `peerId`, and lets `inviteCode` lead to it. While the id is
   * held by a session whose connection is gone, and whose lease runs out, it is tried again, for `waitMs` at most.
   */
  async claim(peerId, { inviteCode, waitMs = CLAIM_WAIT_MS } = {}) {
    checkNames({ peerId }, PEER_CHARS_MAX);
    if (inviteCode != null) checkNames({ inviteCode });
    const claim = { peerId, inviteCode };
    for (const until = performance.now() + waitMs; ;) {
      try {
        await this.#call("claim", claim);
        break;
      } catch (error) {
        if (error.code !== "peer_in_use" || performance.now() > until) throw error;
        await sleep(500, this.#stop.signal);
      }
    }
    if (this.#claim?.peerId !== peerId) {
      // Another mailbox numbers its signals anew.
      this.#taken.clear();
      this.#handled = 0;
      this.#polls = new Polls(this.#nodes, peerId, (signal) => this.#hand(signal));
    }
    this.#claim = claim;
    this.#fallback?.poll(claim);
  }

  /** The peer that an invite code leads to. */
  async lookup(inviteCode) {
    checkNames({ inviteCode });
    return (await this.#call("lookup", { inviteCode })).peerId;
  }

  /** Leaves a signal for a peer. If the answer is lost on its way, the signal is sent again: at least once. */
  async signal(to, type, payload) {
    checkNames({ to }, PEER_CHARS_MAX);
    checkNames({ type });
    checkData({ payload });
    await this.#call("signal", { to, type, payload });
  }

  // ---- rooms

  /** Enters a room; the one entered before is left. */
  async join(name, handlers = {}) {
    checkNames({ name });
    if (!this.#WebSocket)
      throw new ConclaveError(
        "unavailable",
        "Rooms need a WebSocket, and this client has none: give connect() one in its `WebSocket` option, for example that of the package ws.",
      );
    const call = async (op, fields) => {
      if (!fields.volatile) return this.#call(op, { room: name, ...fields });
      if (this.#line?.welcome) await this.#ask(op, { room: name, ...fields }).catch(whereItBroke);
    };
    const leave = async () => {
      // Whether this is still the room to be left is told by the answer to a join that was asked for after it.
      while (this.#entering) await this.#entering;
      if (this.#room !== room) return;
      this.#room = null;
      await this.#call("leave", { room: name });
    };
    const tell = (event, fact) => void this.run(() => handlers[event]?.(fact));
    const room = new Room(name, tell, call, leave);
    // Until then, and if it is refused, the one before; that one is left by the time the other proves full.
    const entered = this.#call("join", room.position(), (frame) => (this.#room = room).entered(frame)).catch((error) => {
      if (error.code === "room_full") this.#room = null;
      throw error;
    });
    const over = () => this.#entering === entering && (this.#entering = null);
    const entering = (this.#entering = entered.then(over, over));
    await entered;
    return room;
  }

  // ---- watches

  /** Calls `handler` whenever a transfer or an exchange changes, first with how it is now. */
  watch(what, handler) {
    const { transfer, session } = what ?? {};
    checkNames(transfer == null && session != null ? { session } : { transfer });
    const key = transfer ?? session;
    let watch = this.#watches.get(key);
    if (watch?.now)
      queueMicrotask(() => watch.handlers.has(handler) && void this.run(() => handler(watch.now)));
    if (!watch) {
      const handlers = new Set();
      const tell = (now) => ((watch.now = now), handlers.forEach((each) => void this.run(() => each(now))));
      watch = { what, handlers, tell, over: false };
      this.#watches.set(key, watch);
      if (this.#fallback) this.#fallback.look(watch);
      else if (this.#line?.welcome) void this.#watchOn(this.#line, watch);
    }
    watch.handlers.add(handler);
    return () => {
      watch.handlers.delete(handler);
      if (watch.handlers.size || this.#watches.get(key) !== watch) return;
      watch.over = true;
      this.#watches.delete(key);
      if (this.#line?.welcome) this.#ask("unwatch", what).catch(() => {});
    };
  }

  /** After a broken connection the next one watches. A refusal says nothing about the thing: it is an `error` event. */
  async #watchOn(line, watch) {
    await this.#ask("watch", watch.what, line).catch((error) => {
      const again = () => this.#line === line && !watch.over && void this.#watchOn(line, watch);
      if (PASSING.includes(error.code)) setTimeout(again, AGAIN_MS);
      else if (error.code !== "disconnected") void this.emit("error", error);
    });
  }

  /** One request, to whichever node answers it; follows `Retry-After`. */
  async http(method, path, request) {
    checkNames({ method, path });
    // Anything else would go on with the name of the host.
    if (!path.startsWith("/")) throw new ConclaveError("invalid_input", "`path` must begin with a slash.");
    return this.#nodes.http(method, path, request);
  }
}
