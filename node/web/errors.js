// What goes wrong, in a code for programs and a sentence for people; and the two small helpers everything else uses.

const SENTENCES = {
  closed: "The client was closed.",
  disconnected: "The connection broke before the answer came.",
  forbidden: "The credential does not cover this.",
  invalid_input: "A value is missing or out of range.",
  not_claimed: "Claim a peer id before you send signals.",
  payload_too_large: "The message is larger than a socket takes.",
  peer_in_use: "Another client holds this peer id.",
  peer_not_found: "No peer is waiting under this invite code.",
  queue_full: "Too many requests wait for a connection. Wait until some of them are answered.",
  refused: "The server refused the session.",
  replaced: "Another connection took this session over.",
  timeout: "The server did not answer in time.",
  unauthorized: "The server asks for a valid token.",
  unavailable: "Rooms need a WebSocket, and none is connected.",
  unreachable: "No node answers.",
};

/** A refusal or a failure; `code` is what programs read. */
export class ConclaveError extends Error {
  constructor(code, message, status = 0) {
    super(message || SENTENCES[code] || `The server answered ${code}${status ? ` (HTTP ${status})` : ""}.`);
    this.name = "ConclaveError";
    this.code = code;
    this.status = status;
  }
}

export const fail = (code, message) => {
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

/** The JSON of a success; a refusal is thrown. */
export async function answer(request) {
  const reply = await request;
  const body = await reply.json().catch((error) => {
    if (!reply.ok || error instanceof SyntaxError) return {};
    throw error instanceof TypeError ? new ConclaveError("unreachable", `The answer broke off: ${error.message}`) : error;
  });
  if (!reply.ok) throw new ConclaveError(body.error ?? "unknown", body.message, reply.status);
  return body;
}
