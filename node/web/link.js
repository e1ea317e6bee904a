// The connection to the server, and the truth about it: "Connected" is shown while a node answers, and only then.

import { Client } from "./conclave.js";
import { at } from "./view.js";

/** After so long without a connection, it is not a matter of a moment any more. */
const UNREACHABLE_AFTER_MS = 3500;
const RETRY_MAX_MS = 1400;
const PING_MS = 5000;

/** While the connection goes to another node, the page's own address is asked so often whether it answers. */
const HOME_EVERY_MS = 3000;
const HOME_WITHIN_MS = 2000;

/** Where this page is, without its name: under a path, if a proxy put it there. */
export const base = new URL(".", location.href).href.replace(/[?#].*/, "");
const slashed = (url) => `${url.replace(/\/+$/, "")}/`;

/** The client of this moment. One serves one sending or receiving: closing it lets go of the code. */
let client = null;
/** The nodes that are known, those that were in use last first. */
let nodes = [base];
let unreachable = null;
/** Whether the page's own address answers. */
let home = true;
let homeTimer = null;
const watchers = new Set();

/** "open", "away", or "unreachable". */
export let state = "away";

/** Calls `watcher` whenever the connection, or the node it goes to, changes. */
export function watch(watcher) {
  watchers.add(watcher);
}

/** The node that is connected, or was last. */
const connected = () => slashed(client?.urls[0] ?? nodes[0]);

/** The address that others reach this page's server by: the page's own while it answers, or a node that is connected. */
export const address = () => (home ? base : connected());

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
  // Until it is known better: the address whose connection broke leads nowhere.
  home = connected() === base ? state === "open" : home;
  if (state === "open") {
    nodes = client.urls;
    tell("open", "Connected");
    void lookHome(client);
  } else if (state === "closed") {
    client = null;
    tell("away", "Not connected", error);
  } else tell("away", "Connecting again…");
}

/** A proxy may let pages through and no sockets, so that the connection goes elsewhere and the page's address is good. */
async function lookHome(mine) {
  clearTimeout(homeTimer);
  if (mine !== client || connected() === base) return;
  const signal = AbortSignal.timeout(HOME_WITHIN_MS);
  const asked = fetch(`${base}api/v1/nodes`, { method: "HEAD", signal, cache: "no-store" });
  const answers = await asked.then(({ status }) => status < 500, () => false);
  if (mine !== client || connected() === base) return;
  if (answers !== home && state === "open") {
    home = answers;
    tell("open", "Connected");
  }
  clearTimeout(homeTimer);
  homeTimer = setTimeout(() => void lookHome(mine), HOME_EVERY_MS);
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
