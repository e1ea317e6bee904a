// The connection to the server, and the truth about it: "Connected" is shown while a node answers, and only then.

import { Client } from "./conclave.js";
import { at } from "./view.js";

/** After so long without a connection, it is not a matter of a moment any more. */
const UNREACHABLE_AFTER_MS = 3500;
const RETRY_MAX_MS = 1400;
const PING_MS = 5000;

/** Where this page is, without its name: under a path, if a proxy put it there. */
export const base = new URL(".", location.href).href.replace(/[?#].*/, "");

/** The client of this moment. One serves one sending or receiving: closing it lets go of the code. */
let client = null;
/** The nodes that are known, those that were in use last first. */
let nodes = [base];
let unreachable = null;
const watchers = new Set();

/** "open", "away", or "unreachable". */
export let state = "away";

/** Calls `watcher` whenever the connection, or the node it goes to, changes. */
export function watch(watcher) {
  watchers.add(watcher);
}

/** The address that others reach this page's server by: a node that is connected. */
export const address = () => `${(client?.urls[0] ?? base).replace(/\/+$/, "")}/`;

/** The client, which may have no connection yet. */
export function session(token) {
  if (client) return client;
  tell("away", "Connecting…");
  const mine = new Client({ urls: nodes, discover: true, token, retryMaxMs: RETRY_MAX_MS, pingMs: PING_MS });
  client = mine;
  mine.on("state", (now) => mine === client && heard(now));
  return mine;
}

function heard({ state, error }) {
  if (state === "open") {
    nodes = client.urls;
    tell("open", "Connected");
  } else if (state === "closed") {
    client = null;
    tell("away", "Not connected", error);
  } else tell("away", "Connecting again…");
}

function tell(now, text, error) {
  clearTimeout(unreachable);
  if (now === "away" && !error)
    unreachable = setTimeout(() => tell("unreachable", "The server can't be reached"), UNREACHABLE_AFTER_MS);
  // What could not be reached stays so until it can.
  if (now === "away" && state === "unreachable" && !error) return;
  state = now;
  at("link").dataset.state = now;
  at("link-text").textContent = text;
  for (const watcher of watchers) watcher(now, error);
}

/** Lets go of the client, `last` words apart. */
export function retire(last = Promise.resolve()) {
  const old = client;
  client = null;
  void last.catch(() => {}).then(() => old?.close());
}

/** The page is closed. */
export function leave() {
  const old = client;
  client = null;
  old?.close();
}
