// How fast one socket may send. The server allows 100 messages and 1 MiB a second by default, and a second's worth at
// once. The bounds here stay below that even when the network holds a few seconds' worth back and delivers it in one go.

const MESSAGES_PER_SECOND = 80;
const BYTES_PER_SECOND = 800_000;
/** Shares of a second that may be sent at once. */
const BURST = 0.25;
const UNANSWERED_MAX = 64;
const UNANSWERED_BYTES_MAX = 512 << 10;
const SLOWEST = 1 / 64;

/** A token bucket for messages and bytes, and a window of what has no answer yet. */
export class Pace {
  #share = 1;
  #messages = MESSAGES_PER_SECOND * BURST;
  #bytes = BYTES_PER_SECOND * BURST;
  #at = performance.now();
  #unanswered = 0;
  #unansweredBytes = 0;

  /** Milliseconds until a message of so many bytes may be sent; Infinity: once another one is answered. */
  wait(bytes) {
    if (this.#unanswered >= UNANSWERED_MAX) return Infinity;
    if (this.#unanswered && this.#unansweredBytes + bytes > UNANSWERED_BYTES_MAX) return Infinity;
    const now = performance.now();
    const seconds = Math.max(0, now - this.#at) / 1000;
    const refill = (level, rate) => Math.min(rate * BURST, level + seconds * rate * this.#share);
    this.#messages = refill(this.#messages, MESSAGES_PER_SECOND);
    this.#bytes = refill(this.#bytes, BYTES_PER_SECOND);
    this.#at = now;
    if (this.#messages >= 1 && this.#bytes >= 0) return 0;
    const messages = (1 - this.#messages) / (MESSAGES_PER_SECOND * this.#share);
    const debt = -this.#bytes / (BYTES_PER_SECOND * this.#share);
    return Math.ceil(Math.max(messages, debt, 0.001) * 1000);
  }

  /** A message was sent. One that is larger than the burst leaves a debt. */
  sent(bytes) {
    this.#messages -= 1;
    this.#bytes -= bytes;
    this.#unanswered++;
    this.#unansweredBytes += bytes;
  }

  answered(bytes) {
    this.#unanswered--;
    this.#unansweredBytes -= bytes;
    // Back to the full speed, a little with every answer.
    this.#share = Math.min(1, this.#share * 1.01);
  }

  /** The server said `rate_limited`: its limits are lower than the defaults. */
  slower() {
    this.#share = Math.max(SLOWEST, this.#share / 2);
  }
}
