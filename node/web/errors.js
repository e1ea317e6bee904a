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
  constructor(code, message, status = 0, cause) {
    const sentence = message || SENTENCES[code] || `The server answered ${code}${status ? ` (HTTP ${status})` : ""}.`;
    super(sentence, cause === undefined ? undefined : { cause });
    this.name = "ConclaveError";
    this.code = code;
    this.status = status;
  }
}

export const fail = (code, message) => {
  throw new ConclaveError(code, message);
};

/** A request that was not answered, and why. Node's `fetch` keeps the reason in `cause`, which may have nothing but a code. */
export function unreachable(what, error) {
  const cause = error.cause ?? error;
  return new ConclaveError("unreachable", `${what}: ${String(cause.message || cause.code || error.message).trim()}`, 0, cause);
}

/** Refuses what is no name, under the codes that a socket answers with: a name is a string of 1 to `max` characters. */
export function checkNames(names, max = Infinity) {
  for (const [name, value] of Object.entries(names)) {
    if (typeof value !== "string" || !value)
      throw new ConclaveError("missing_fields", `\`${name}\` must be a string that is not empty.`);
    if (value.length > max && [...value].length > max)
      throw new ConclaveError("invalid_input", `\`${name}\` is longer than ${max} characters.`);
  }
}

/** Refuses what JSON has no word for: it would be left out. */
export function checkData(data) {
  for (const [name, value] of Object.entries(data)) {
    if (["undefined", "function", "symbol"].includes(typeof value))
      throw new ConclaveError("missing_fields", `\`${name}\` must be something that JSON can say.`);
  }
}

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
    throw error instanceof TypeError ? unreachable("The answer broke off", error) : error;
  });
  if (!reply.ok)
    throw Object.assign(new ConclaveError(body.error ?? "unknown", body.message, reply.status), {
      acknowledged: body.acknowledged === true,
    });
  return body;
}
