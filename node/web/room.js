// A room this session is in.

import { checkData } from "./errors.js";

/** Each offset is delivered once, whatever is sent again. */
export class Room {
  #tell;
  #call;
  #quit;
  #others = new Set();
  #count = 1;

  /** `tell(event, fact)` calls the program's handler, if there is one; `quit` leaves, unless that is done already. */
  constructor(name, tell, call, quit) {
    this.name = name;
    this.recovered = null;
    this.#tell = tell;
    this.#call = call;
    this.#quit = quit;
  }

  /** What was seen last; nothing of it before the room was entered. */
  position() {
    return { room: this.name, epoch: this.epoch, offset: this.offset };
  }

  /** The room was entered. */
  entered({ members = [], ...entry }) {
    this.#place(entry);
    this.#others = new Set(members.filter((member) => member !== this.member));
  }

  /** The connection is back, and `members` are there now: who left or came meanwhile is told first. */
  resumed({ members, recovered, ...entry }) {
    this.#place(entry);
    this.recovered = recovered === true;
    const now = new Set(members.filter((member) => member !== this.member));
    for (const member of this.#others) if (!now.has(member)) this.#leave(member);
    for (const member of now) if (!this.#others.has(member)) this.#join(member);
    this.#tell("onresume", { recovered: this.recovered, members: [...now] });
  }

  #place({ epoch, offset, member }) {
    const first = this.epoch === undefined;
    // Another epoch counts anew: history was lost, and offsets begin again.
    if (epoch !== undefined && epoch !== this.epoch) [this.epoch, this.offset] = [epoch, first ? offset : 0];
    this.member = member ?? this.member;
  }

  #join(member) {
    this.#others.add(member);
    this.#tell("onjoin", member);
  }

  #leave(member) {
    this.#others.delete(member);
    this.#tell("onleave", member);
  }

  take({ push, epoch, offset, ...event }) {
    if (push === "message") {
      if (offset !== undefined) {
        if (epoch === this.epoch && offset <= this.offset) return;
        [this.epoch, this.offset] = [epoch, offset];
      }
      this.#tell("onmessage", { ...event, epoch, offset });
    } else if (push === "join") this.#join(event.member);
    else if (push === "leave") this.#leave(event.member);
  }

  /** Sends to all members, in one order for everybody; repeated until there is an answer, delivered once. */
  async publish(data) {
    checkData({ data });
    const messageId = crypto.getRandomValues(new Uint32Array(1))[0] * 0x100000 + this.#count++;
    return this.#call("publish", { data, messageId });
  }

  /** Sends to whoever is there now, at most once. While there is no connection it is dropped. */
  async volatile(data) {
    checkData({ data });
    await this.#call("publish", { data, volatile: true });
  }

  async members() {
    return (await this.#call("members", {})).members;
  }

  leave() {
    return this.#quit();
  }
}
