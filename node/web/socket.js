// One WebSocket: questions with their answers, sent at the pace the server allows, and a watch over its life.

import { ConclaveError } from "./errors.js";
import { Pace } from "./pace.js";

/** Bytes of one message that the server takes by default: a payload of 64 KiB and its envelope. */
const MESSAGE_BYTES_MAX = 80 << 10;
const ANSWERS_WITHIN_MS = 8000;
/** An unanswered ping is repeated after this, and once more the connection is given up. */
const PING_AGAIN_MS = 4000;
/** What the server closes with when a message is too large. */
const TOO_LARGE = 1009;
/** Our own close code for a connection that is left while its session goes on elsewhere: 1000 would end the session. */
const ELSEWHERE = 4001;
// What passes: asked again after a pause.
export const BUSY = ["keys_unavailable", "no_leader", "overloaded", "shutting_down"];
const BUSY_MS = 300;
const LIMITED_MS = 1000;

const utf8 = new TextEncoder();

/** A request as it goes over a socket. `id`s ascend in the order in which requests were made. */
export class Request {
  constructor(id, op, fields, settle) {
    this.id = id;
    this.op = op;
    this.fields = fields;
    this.text = JSON.stringify({ id, op, ...fields });
    this.bytes = utf8.encode(this.text).length;
    Object.assign(this, settle);
    if (this.bytes > MESSAGE_BYTES_MAX) {
      throw new ConclaveError(
        "payload_too_large",
        `This ${op} has ${this.bytes} bytes with its envelope; a socket takes ${MESSAGE_BYTES_MAX}.`,
      );
    }
  }
}

/** One connection, from its opening to its end. */
export class Line {
  #socket;
  #pace = new Pace();
  // Asked on this very connection; their turn comes first.
  #urgent = [];
  // Asked until there is an answer; they wait until the session is restored, in the order of their ids.
  #lasting = [];
  #unanswered = new Map();
  #ready = false;
  #held = 0;
  #timer = null;
  #alive = null;
  #heard = 0;
  #pinged = null;
  #doubted = false;
  #over = false;
  #on;

  /** `on` is `{ open, push, doubt, over }`. */
  constructor(WebSocket, url, on) {
    this.#on = on;
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => on.open();
    this.#socket.onmessage = ({ data }) => this.#hear(data);
    // A failed connection is told by the close that follows.
    this.#socket.onerror = () => {};
    this.#socket.onclose = ({ code, reason }) => this.#end(code, reason);
  }

  /** Asks on this very connection. */
  ask(op, fields, nextId) {
    return new Promise((resolve, reject) => {
      const request = new Request(nextId, op, fields, { resolve, reject, urgent: true });
      if (this.#over) return reject(new ConclaveError("disconnected"));
      // The connection's end leaves these unanswered; whoever restores the next one asks again.
      request.timer = setTimeout(() => {
        this.#urgent = this.#urgent.filter((other) => other !== request);
        this.#settled(request);
        reject(new ConclaveError("timeout", `The server did not answer \`${op}\` within 8 s.`));
      }, ANSWERS_WITHIN_MS);
      this.#urgent.push(request);
      this.#pump();
    });
  }

  /** Sends a request whose answer is waited for beyond this connection. */
  send(request) {
    const after = this.#lasting.findLastIndex((other) => other.id < request.id);
    this.#lasting.splice(after + 1, 0, request);
    this.#pump();
  }

  /** The session is restored: the lasting requests may go. */
  start(pingMs) {
    this.#ready = true;
    this.#keepAlive(pingMs);
    this.#pump();
  }

  #pump() {
    clearTimeout(this.#timer);
    this.#timer = null;
    for (;;) {
      const held = this.#held - performance.now();
      const queue = this.#urgent.length ? this.#urgent : this.#ready && held <= 0 ? this.#lasting : [];
      const [request] = queue;
      if (this.#over || this.#socket.readyState !== 1) return;
      const wait = request ? this.#pace.wait(request.bytes) : this.#ready && this.#lasting.length ? held : Infinity;
      // An answer pumps again.
      if (wait === Infinity) return;
      if (wait > 0) return void (this.#timer = setTimeout(() => this.#pump(), wait));
      queue.shift();
      this.#pace.sent(request.bytes);
      this.#unanswered.set(request.id, request);
      this.#socket.send(request.text);
    }
  }

  #settled(request) {
    clearTimeout(request.timer);
    if (this.#unanswered.delete(request.id)) this.#pace.answered(request.bytes);
  }

  #hear(data) {
    this.#heard = performance.now();
    this.#pinged = null;
    if (this.#doubted) this.#on.doubt((this.#doubted = false));
    const frame = JSON.parse(data);
    if (frame.push) this.#on.push(frame);
    else this.#answer(frame);
    this.#pump();
  }

  #answer({ id, error, ...frame }) {
    const request = this.#unanswered.get(id);
    const limited = error?.code === "rate_limited";
    // Once for all that were under way.
    if (limited && this.#held < performance.now()) this.#pace.slower();
    if (!request) return;
    this.#settled(request);
    if (!request.urgent && (limited || BUSY.includes(error?.code))) {
      // What comes after it waits as well, so that the order is kept; of what was under way the server decides.
      this.#held = performance.now() + (limited ? LIMITED_MS : BUSY_MS);
      this.send(request);
    } else if (error) request.reject(new ConclaveError(error.code, error.message));
    else request.resolve(frame);
  }

  /**
   * A connection that says nothing is asked, asked again, and given up when it stays silent, whatever the operating
   * system believes of it. Timers may be late, by minutes in a hidden tab or a process that slept: so what counts is
   * not the time since anything was heard but that two pings had their time and no answer.
   */
  #keepAlive(pingMs) {
    const tick = () => {
      const now = performance.now();
      let next = pingMs / 2;
      if (this.#pinged) {
        if (this.#pinged.times >= 2) return this.leave();
        this.#ping(this.#pinged.times + 1);
        next = PING_AGAIN_MS;
        if (!this.#doubted) this.#on.doubt((this.#doubted = true));
      } else if (now - this.#heard >= pingMs / 2 - 10) {
        this.#ping(1);
        next = PING_AGAIN_MS;
      } else next = pingMs / 2 - (now - this.#heard);
      this.#alive = setTimeout(tick, Math.max(next, 10));
    };
    clearTimeout(this.#alive);
    this.#alive = setTimeout(tick, pingMs / 2);
  }

  /** Asks the server for a sign of life at once. */
  check() {
    if (this.#ready && !this.#pinged && !this.#over) {
      this.#ping(1);
      this.#keepAlive(2 * PING_AGAIN_MS);
    }
  }

  #ping(times) {
    this.#pinged = { times };
    if (this.#socket.readyState === 1) this.#socket.send('{"op":"ping"}');
  }

  /** Leaves this connection while the session goes on on another one. */
  leave() {
    this.#close(ELSEWHERE);
    this.#end(0);
  }

  /** Ends the session with this connection. */
  goodbye() {
    if (this.#socket.readyState === 1) this.#socket.send('{"op":"bye"}');
    this.#close(1000);
    this.#end(1000);
  }

  #close(code) {
    // While it is still connecting, browsers take no code other than none.
    if (this.#socket.readyState === 1) this.#socket.close(code);
    else this.#socket.close();
  }

  #end(code, reason) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#alive);
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    const all = [...this.#urgent, ...this.#unanswered.values()];
    for (const request of all.filter(({ urgent }) => urgent)) {
      clearTimeout(request.timer);
      request.reject(new ConclaveError("disconnected"));
    }
    // A server whose bound is lower than the default closes; the largest of what it had is the culprit.
    const lasting = [...this.#unanswered.values()].filter(({ urgent }) => !urgent);
    if (code === TOO_LARGE && lasting.length) {
      const [largest] = lasting.sort((a, b) => b.bytes - a.bytes);
      largest.reject(new ConclaveError("payload_too_large", `The server takes no message of ${largest.bytes} bytes.`));
    }
    this.#on.over(code, reason);
  }
}
