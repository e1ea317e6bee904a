import type { SignalType } from "./conclave.js";

export interface Options {
  /** Of the two sides exactly one is polite: it gives way where two offers meet. */
  polite?: boolean;
  config?: RTCConfiguration;
  /** Told what `send` was rejected with, and why an offer could not be made. Without it the former is told to nobody. */
  onerror?(error: unknown): void;
}

export interface Negotiation {
  pc: RTCPeerConnection;
  /**
   * Takes what the other side's `send` sent; `ready` and `bye`, and whatever comes after the end, mean nothing to it. Settles
   * in any case, if only when the connection is closed.
   */
  receive(type: SignalType, payload: unknown): Promise<void>;
  close(): void;
}

/** Perfect negotiation; `send` carries a signal to the other side. */
export function negotiate(
  send: (type: SignalType, payload: unknown) => unknown,
  options?: Options,
): Negotiation;
