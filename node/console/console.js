// The console: asks its node once a second, and shows what it says. Devices are let in with a click; nothing else is changed.

import { growth, growths, parse, quantile, sum } from "./metrics.js";
import { lags, troubles } from "./troubles.js";

const EVERY_MS = 1000;
/** An answer that takes longer is none. */
const PATIENCE_MS = 5000;
/** Readings that are kept: two minutes. */
const KEPT = 120;
/** Rates and latencies are over so many readings, refusals over a minute. */
const WINDOW = 10;
const MINUTE = 60;
/** Entries of the audit log that are shown. */
const CHANGES = 10;

const by = (id) => document.getElementById(id);
const readings = [];
let silentSince = null;

/** An element with a text or children. */
function made(name, content = "", attributes = {}) {
  const element = document.createElement(name);
  element.append(...[content].flat());
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Puts rows in place of those of before, if they differ: what is selected stays so. */
function rows(id, all, nothing) {
  const body = by(id);
  const cells = all.length > 0 ? all : [[made("td", nothing, { class: "none", colspan: "9" })]];
  const fresh = cells.map((row) => made("tr", row));
  if (fresh.map((row) => row.outerHTML).join("") !== body.innerHTML) body.replaceChildren(...fresh);
}

/** The listener asks for a token, or for another one. */
class Locked extends Error {
  constructor(wasShown) {
    super("a token is asked for");
    this.wasShown = wasShown;
  }
}

function say(id, text) {
  if (by(id).textContent !== text) by(id).textContent = text;
}

/** The token of the admin listener, for as long as this tab lives. */
const TOKEN = "conclave-admin-token";

async function ask(path, how = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...how, headers, signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
  if (response.status === 401) throw new Locked(Boolean(token));
  // A node that is not ready says why with 503.
  if (!response.ok && response.status !== 503) throw new Error(`${path}: ${response.status}`, { cause: response.status });
  return response;
}

/** The end of the audit log, newest first; null where the cluster cannot be asked. */
let changes = [];
let askingForChanges = false;

/** Asks for what is new of it. Nothing else waits for that: while a leader is elected the answer takes its time. */
async function lastChanges() {
  if (askingForChanges) return;
  askingForChanges = true;
  const page = async (after) => (await ask(`admin/v1/audit?after=${after}`)).json();
  try {
    const known = changes?.[0]?.seq ?? 0;
    const news = await page(known);
    // Of a long log the end alone: entries are told from the oldest on.
    const last = news.head?.seq ?? 0;
    const { entries } = last > known + news.entries.length ? await page(last - CHANGES) : news;
    changes = [...entries.reverse(), ...(changes ?? [])].slice(0, CHANGES);
  } catch {
    changes = null;
  } finally {
    askingForChanges = false;
  }
}

/** Devices that wait to be let in, as many as are shown; their list is read more seldom than all else. */
const DEVICES = 20;
const DEVICES_EVERY_MS = 5000;
let devicesAsked = -Infinity;

async function waitingDevices() {
  if (performance.now() - devicesAsked < DEVICES_EVERY_MS) return;
  devicesAsked = performance.now();
  try {
    const { devices } = await (await ask("admin/v1/devices?standing=pending")).json();
    showDevices(devices);
  } catch {
    // What is wrong is told by what is asked every second.
  }
}

/** A name that somebody else chose: each character is what it looks like, and none changes how the others look. */
const plain = (name) => name.replace(/[^ -~]|\\/gu, (letter) => (letter === "\\" ? "\\\\" : `\\u{${letter.codePointAt(0).toString(16)}}`));

function showDevices(devices) {
  by("devices").hidden = devices.length === 0;
  const more = devices.length > DEVICES ? [[made("td", `and ${devices.length - DEVICES} more`, { class: "none", colspan: "4" })]] : [];
  rows("device-list", [...devices.slice(0, DEVICES).map((device) => [
    made("td", `${device.tenant ? `${device.tenant}: ` : ""}${plain(device.subject)}/${plain(device.device)}`),
    made("td", made("code", device.publicKey)),
    made("td", new Date(device.sinceMs).toLocaleString()),
    made("td", made("span", [decision(device, "approve", "Let in"), decision(device, "revoke", "Keep out")], { class: "row" })),
  ]), ...more], "none");
}

/** Whoever is let in is let in with the key that is shown here. */
const decision = ({ tenant, subject, device, publicKey }, what, caption) => {
  const which = { tenant, subject, device, ...(what === "approve" ? { publicKey } : {}) };
  return made("button", caption, { type: "button", "data-what": what, "data-device": JSON.stringify(which) });
};

by("device-list").addEventListener("click", async ({ target }) => {
  const { what, device } = target.dataset;
  if (!what) return;
  target.disabled = true;
  try {
    await ask(`admin/v1/devices/${what}`, { method: "POST", body: device });
    say("device-trouble", "");
  } catch ({ cause }) {
    target.disabled = false;
    if (cause !== 409) return say("device-trouble", "This was not done, or it is not known whether it was. Look again in a moment.");
    say("device-trouble", "This was not done: the device shows another key by now, which is below.");
  }
  devicesAsked = -Infinity;
  await waitingDevices();
});

async function read() {
  const [status, ready, metrics] = await Promise.all([
    ask("cluster/status").then((response) => (response.ok ? response.json() : null)),
    ask("readyz").then((response) => response.json()),
    ask("metrics").then((response) => response.text()),
  ]);
  return { at: performance.now(), status, failing: ready.checks ?? [], metrics: parse(metrics) };
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const count = (value) => number.format(value);
const milliseconds = (value) => (value === null ? "–" : `${count(value * 1000)} ms`);
function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  return `${count(value / 1024 ** power)} ${units[power]}`;
}

const HTTP = "conclave_http_request_seconds";
/** Long polls and streams last as long as they like. */
const answered = ({ route }) => !/poll|events|socket|\/ws|health|livez|readyz/.test(route ?? "");
const seconds = (then, now) => Math.max(0.001, (now.at - then.at) / 1000);
const rate = (name, where) => (then, now) => growth(then.metrics, now.metrics, name, where) / seconds(then, now);
const level = (name) => (_, now) => sum(now.metrics, name);

/** What is drawn: a caption, a figure of two readings, how it is written. */
const FIGURES = [
  ["Requests a second", rate(`${HTTP}_count`), count],
  ["99 % are answered within", (then, now) => quantile(then.metrics, now.metrics, HTTP, 0.99, answered), milliseconds],
  ["Sockets", level("conclave_sockets_live"), count],
  ["Socket messages a second", rate("conclave_sockets_messages_received_total"), count],
  ["Refused by allowances a second", rate("conclave_http_limited_total"), count],
  ["Stored in its cell", level("conclave_state_stored_bytes"), bytes],
  ["Log flushes, 99 % within", (then, now) => quantile(then.metrics, now.metrics, "conclave_raft_fsync_seconds", 0.99), milliseconds],
  ["Memory", level("process_resident_memory_bytes"), bytes],
].map(([caption, figure, written]) => ({ caption, figure, written, values: [] }));

for (const shown of FIGURES) {
  shown.output = made("output", "–");
  shown.line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", `0 0 ${KEPT - 1} 36`);
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(shown.line);
  by("figures").append(made("figure", [made("figcaption", shown.caption), shown.output, drawing], { class: "card figure" }));
}

function draw(shown, then, now) {
  const value = shown.figure(then, now);
  shown.values.push(value ?? 0);
  if (shown.values.length > KEPT) shown.values.shift();
  shown.output.textContent = shown.written(value);
  const most = Math.max(...shown.values, 1e-9);
  const first = KEPT - shown.values.length;
  const points = shown.values.map((value, place) => `${first + place},${(34 - (32 * value) / most).toFixed(1)}`);
  shown.line.setAttribute("points", points.join(" "));
}

function head(state, text) {
  by("state").dataset.state = state;
  say("state-text", text);
  document.title = `${text} · Conclave`;
}

function tell(found) {
  const lines = found.map(({ state, text }) => made("li", text, { class: state }));
  if (lines.map((line) => line.outerHTML).join("") !== by("trouble-list").innerHTML) by("trouble-list").replaceChildren(...lines);
  by("troubles").hidden = found.length === 0;
  if (found.length === 0) head("good", "All is well");
  else head(found[0].state, found[0].state === "bad" ? "Something is wrong" : "Something needs a look");
}

function show(now) {
  const { status, metrics } = now;
  const [about] = metrics.get("conclave_build_info") ?? [];
  if (about) {
    say("node", `as ${about.labels.name} sees it`);
    say("about", `Conclave ${about.labels.version}, ${about.labels.edition} edition. Asked once a second.`);
  }
  const then = readings[Math.max(0, readings.length - WINDOW)];
  if (then) for (const shown of FIGURES) draw(shown, then, now);
  const minute = readings[Math.max(0, readings.length - MINUTE)];
  const refused = minute ? growths(minute.metrics, metrics, "conclave_http_errors_total", "code") : [];
  rows("refused", refused.map(([code, times]) => [made("td", code), made("td", count(times))]), "nothing");
  rows("changes", (changes ?? []).map(({ seq, atMs, entry }) => [
    made("td", `${seq}`),
    made("td", new Date(atMs).toLocaleString()),
    made("td", entry.call),
    made("td", entry.outcome, { class: entry.outcome === "asked" ? "" : "warn" }),
    made("td", entry.from),
  ]), changes ? "none" : "not known: the cluster cannot be asked");
  if (!status) return tell([{ state: "bad", text: `This node is not ready: ${now.failing.join(", ")}.` }]);

  rows("cells", (status.cells ?? []).map(({ cell, leader, term, majority, slots, moving }) => [
    made("td", `${cell}`),
    made("td", leader === null ? "none" : `node ${leader}`, { class: leader === null ? "bad" : "" }),
    made("td", `${majority.reachable} of ${majority.voters}`, {
      class: majority.reachable < majority.needed ? "bad" : majority.reachable < majority.voters ? "warn" : "",
    }),
    made("td", moving > 0 ? `${slots}, ${moving} on their way out` : `${slots}`),
    made("td", `${term}`),
  ]), "not known");
  by("next").hidden = !status.next_step;
  say("next", status.next_step ? `Next: ${status.next_step}` : "");

  const leaders = new Set((status.cells ?? []).map(({ leader }) => leader));
  const behind = lags(status);
  rows("nodes", status.nodes.map(({ id, cell, role, http, admin, applied }) => {
    const away = role === "unreachable";
    const link = /^https?:\/\//.test(admin) ? made("a", admin.replace(/^https?:\/\//, ""), { href: admin, rel: "noreferrer" }) : "–";
    return [
      made("td", `${id}`),
      made("td", cell ? `${cell}` : "–"),
      made("td", role, { class: away ? "bad" : leaders.has(id) ? "leads" : "" }),
      made("td", away || (!cell && applied === 0) ? "–" : count(behind.get(id))),
      made("td", http || "–"),
      made("td", link),
    ];
  }), "not known");
  tell(troubles(status, now.failing));
}

async function turn() {
  lastChanges();
  waitingDevices();
  try {
    const now = await read();
    silentSince = null;
    by("locked").hidden = true;
    show(now);
    readings.push(now);
    if (readings.length > KEPT) readings.shift();
  } catch (error) {
    if (error instanceof Locked) return lock(error.wasShown);
    silentSince ??= new Date();
    tell([{ state: "bad", text: `This node has not answered since ${silentSince.toLocaleTimeString()}. Look at another one, or at this one's log.` }]);
  }
}

/** Asks for the token, once: what is being typed stays. */
function lock(wasShown) {
  head("unknown", "Locked");
  if (wasShown) say("wrong-token", "This is not the token of this node.");
  sessionStorage.removeItem(TOKEN);
  by("locked").hidden = false;
}

by("locked").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, by("token").value.trim());
  by("token").value = "";
  say("wrong-token", "");
  turn();
});

for (;;) {
  // A page that nobody looks at asks nothing.
  if (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
  await turn();
  await new Promise((passed) => setTimeout(passed, EVERY_MS));
}
