// The page: which of its sections is shown, and what a person reads there.

import * as codes from "./code.js";
import { connect } from "./conclave.js";
import { Receiver, Sender, Trouble } from "./pairing.js";
import { qr } from "./qr.js";
import * as sink from "./sink.js";
import { Transfers } from "./transfers.js";
import { bytes, duration, files as manyFiles, words } from "./words.js";

const at = (id) => document.getElementById(id);
const SECTIONS = ["signin", "home", "offer", "finding", "accept", "moving", "done", "trouble"];
const WAYS = {
  direct: "Straight from device to device, encrypted from end to end.",
  relay: "Through the relay, encrypted from end to end.",
};

const relayOnly = new URLSearchParams(location.search).get("relay") === "1";
/** A promise of the client of this moment. One serves one sending or receiving: closing it lets go of the code. */
let client = null;
/** The sender or receiver of this moment. */
let side = null;
/** Counts what was begun and ended, so that news of what is over is not shown. */
let turn = 0;
let shown = null;

// ---- small helpers

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Shows one section; its heading gets the focus, so that a screen reader begins there. */
function show(name) {
  if (shown === name) return;
  for (const section of SECTIONS) at(section).hidden = section !== name;
  document.title =
    { home: "Conclave: send a file to another device" }[name] ??
    `${at(`${name}-title`).textContent} – Conclave`;
  if (shown) {
    scrollTo(0, 0);
    at(`${name}-title`).focus();
  }
  shown = name;
}

const say = (text) => (at("news").textContent = text);
const total = (files) => files.reduce((sum, file) => sum + file.size, 0);
/** A name is shown and saved without what could make it look like another one. */
const plainName = (name) =>
  String(name)
    .replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069/\\]/gu, "_")
    .slice(-200) || "file";

function list(place, files) {
  at(place).replaceChildren(
    ...files.map(({ name, size }) =>
      element(
        "li",
        {},
        element("span", { className: "name", textContent: plainName(name), title: plainName(name) }),
        element("span", { className: "size", textContent: bytes(size) }),
      ),
    ),
  );
}

function failed(error) {
  side?.end();
  retire();
  if (error?.status === 401 || error?.code === "unauthorized") return signIn("Your token is over. Ask for a new one.");
  const { title, text } = words(error);
  at("trouble-title").textContent = title;
  at("trouble-text").textContent = text;
  show("trouble");
}

function home() {
  at("files").value = "";
  at("code").value = "";
  hint("");
  show("home");
}

function hint(text, bad = false) {
  at("code-hint").textContent = text;
  at("code-hint").classList.toggle("bad", bad);
}

// ---- the credential

/** Kept for this tab: a reload finds it, another tab and tomorrow do not. */
const TOKEN = "conclave.token";
const token = () => sessionStorage.getItem(TOKEN) ?? undefined;

/** Whether the server lets this page in, with the token it has or without one. One that can't be asked is not a no. */
async function welcome() {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  const asked = fetch("/api/v1/nodes", { headers, cache: "no-store" }).catch(() => null);
  const reply = await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 3000))]);
  return reply?.status !== 401;
}

function signIn(text) {
  sessionStorage.removeItem(TOKEN);
  if (text) at("token-hint").textContent = text;
  at("token-hint").classList.toggle("bad", Boolean(text));
  show("signin");
}

at("sign").addEventListener("submit", async (event) => {
  event.preventDefault();
  const typed = at("token").value.trim();
  if (!/^[\w.~+/=-]+$/.test(typed)) return signIn("Paste the whole token: letters, digits and dots.");
  sessionStorage.setItem(TOKEN, typed);
  if (!(await welcome())) return signIn("The server does not take this token: it may be over, or not for this server.");
  at("token").value = "";
  retire();
  start();
});

// ---- the connection

function session() {
  if (client) return client;
  const mine = connect({ urls: location.origin, discover: true, token: token() });
  client = mine;
  mine.then(
    (opened) => {
      opened.on("state", (state) => mine === client && link(state));
      if (mine === client) link({ state: "open" });
    },
    () => mine === client && link({ state: "closed" }),
  );
  return mine;
}

function link({ state }) {
  const texts = { open: "Connected", reconnecting: "Connecting again…", closed: "Not connected" };
  at("link").dataset.state = state === "open" ? "open" : "away";
  at("link-text").textContent = texts[state];
  if (state === "closed") client = null;
}

/** What was begun is over, `last` words apart. */
function retire(last = Promise.resolve()) {
  const old = client;
  turn++;
  side = client = null;
  void last
    .catch(() => {})
    .then(async () => (await old)?.close())
    .catch(() => {});
  session().catch(() => {});
}

async function begin(Kind, options) {
  if (!globalThis.crypto?.subtle || !AbortSignal.any)
    throw new Trouble(isSecureContext ? "old_browser" : "insecure");
  const transport = await session();
  return new Kind({ client: transport, transfers: new Transfers(transport), relayOnly, ...options });
}

// ---- progress

const meter = { samples: [] };

function startMeter(title, files) {
  Object.assign(meter, { samples: [], total: total(files) });
  at("moving-title").textContent = title;
  list("moving-files", files);
  at("rate").textContent = at("left").textContent = "";
}

/** Speed over the last few seconds, so that it neither jumps nor lies. */
function progress({ done, via }) {
  const now = performance.now();
  const { samples } = meter;
  if (samples.length && done < samples.at(-1).done) samples.length = 0;
  samples.push({ now, done });
  while (samples.length > 2 && now - samples[0].now > 4000) samples.shift();
  const [first] = samples;
  const speed = now - first.now > 400 ? ((done - first.done) * 1000) / (now - first.now) : 0;
  const share = meter.total ? done / meter.total : 1;
  const percent = `${Math.floor(share * 100)}%`;
  at("bar").value = share;
  if (at("percent").textContent !== percent) {
    at("percent").textContent = percent;
    document.title = `${percent} – Conclave`;
    if (Math.floor(share * 100) % 25 === 0) say(percent);
  }
  at("amount").textContent = `${bytes(done)} of ${bytes(meter.total)}`;
  at("rate").textContent = speed ? `${bytes(speed)}/s` : "";
  at("left").textContent = speed && share < 1 ? `${duration((meter.total - done) / speed)} left` : "";
  at("way").textContent = WAYS[via];
  at("way").classList.remove("bad");
}

function stalled() {
  at("way").textContent =
    "Nothing arrives at the moment. Is the other device still there? This goes on by itself once it is.";
  at("way").classList.add("bad");
  at("rate").textContent = at("left").textContent = "";
}

// ---- sending

async function send(files) {
  if (!files.length) return;
  const code = codes.fresh();
  const mine = turn;
  offer(code, files);
  try {
    const on = (state) => mine === turn && sending(state, files);
    const sender = await begin(Sender, { files, on });
    if (mine !== turn) return;
    side = sender;
    await sender.offer(code);
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

function sending(state, files) {
  if (state.phase === "paired") {
    startMeter("Connected", files);
    progress({ done: 0, via: "direct" });
    at("way").textContent = "Waiting for the other person to accept.";
    show("moving");
  } else if (state.phase === "sending") {
    at("moving-title").textContent = `Sending ${manyFiles(files.length)}`;
    progress(state);
  } else if (state.phase === "checking") {
    at("way").textContent = "Everything is over there and is being checked.";
    at("rate").textContent = at("left").textContent = "";
  } else if (state.phase === "done") {
    retire();
    at("done-title").textContent = "Sent";
    const arrived = state.checked ? "arrived and checked on the other device" : "arrived on the other device";
    at("done-text").textContent = `${manyFiles(files.length)}, ${bytes(total(files))}: ${arrived}.`;
    at("save-all").hidden = true;
    list("done-files", files);
    show("done");
  } else if (state.phase === "failed") failed(state.trouble);
}

function offer(code, files) {
  const spelled = codes.spell(code);
  const address = `${location.origin}/#${spelled}`;
  at("place").textContent = location.host;
  // Two halves, each of which stays on one line: what the server knows, and what it never learns.
  const groups = spelled.split("-").map((textContent) => element("span", { textContent }));
  const dash = () => element("span", { className: "unseen", textContent: "-" });
  const known = codes.INVITE_CHARS / 4;
  const half = (groups) => groups.flatMap((group, i) => (i ? [dash(), group] : [group]));
  at("offer-code").replaceChildren(
    element("span", {}, ...half(groups.slice(0, known))),
    dash(),
    element("span", { className: "key" }, ...half(groups.slice(known))),
  );
  at("qr").replaceChildren(picture(address));
  list("offer-files", files);
  const copies = { "copy-link": ["Copy link", address], "copy-code": ["Copy code", spelled] };
  for (const [id, [label, text]] of Object.entries(copies)) {
    at(id).textContent = label;
    at(id).onclick = async () => {
      const copied = await navigator.clipboard.writeText(text).then(
        () => true,
        () => false,
      );
      at(id).textContent = copied ? "Copied" : "Please copy by hand";
      say(at(id).textContent);
      setTimeout(() => (at(id).textContent = label), 2000);
    };
  }
  show("offer");
}

function picture(text) {
  const SVG = "http://www.w3.org/2000/svg";
  const modules = qr(text);
  const image = document.createElementNS(SVG, "svg");
  if (!modules) return image;
  image.setAttribute("viewBox", `0 0 ${modules.length} ${modules.length}`);
  const path = document.createElementNS(SVG, "path");
  const cells = modules.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])));
  path.setAttribute("d", cells.join(""));
  image.append(path);
  return image;
}

// ---- receiving

async function receive(code) {
  const mine = turn;
  show("finding");
  try {
    const on = (state) => mine === turn && (state.phase === "stalled" ? stalled() : progress(state));
    const receiver = await begin(Receiver, { on });
    if (mine !== turn) return;
    side = receiver;
    const files = (await receiver.find(code)).map((file) => ({ ...file, name: plainName(file.name) }));
    if (mine !== turn) return;
    list("accept-files", files);
    at("accept-title").textContent =
      files.length === 1 ? "Receive this file?" : `Receive these ${files.length} files?`;
    at("accept-yes").textContent = `Receive ${bytes(total(files))}`;
    show("accept");
    await new Promise((resolve, reject) => {
      at("accept-yes").onclick = resolve;
      receiver.stop.signal.addEventListener("abort", () => reject(receiver.stop.signal.reason));
    });
    startMeter(`Receiving ${manyFiles(files.length)}`, files);
    progress({ done: 0, via: "direct" });
    at("way").textContent = "Looking for the shortest way.";
    show("moving");
    received(await receiver.accept(sink.open));
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

function save({ name, blob }) {
  // Without its type: a page among the files must never run as one of this site's.
  const address = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  const anchor = element("a", { href: address, download: plainName(name) });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

function received(files) {
  retire();
  at("done-title").textContent = "Received";
  at("done-text").textContent =
    `${manyFiles(files.length)}, ${bytes(total(files))}: checked, exactly as sent.`;
  at("done-files").replaceChildren(
    ...files.map((file) =>
      element(
        "li",
        {},
        element("span", {
          className: "name",
          textContent: plainName(file.name),
          title: plainName(file.name),
        }),
        element("button", {
          type: "button",
          textContent: "Save",
          onclick: () => save(file),
          ariaLabel: `Save ${plainName(file.name)}`,
        }),
        element(
          "details",
          {},
          element("summary", { textContent: bytes(file.size) + ", SHA-256" }),
          element("span", { className: "digest", textContent: file.sha256 }),
        ),
      ),
    ),
  );
  at("save-all").hidden = files.length < 2;
  at("save-all").onclick = () => files.forEach(save);
  show("done");
  // One is saved at once; browsers ask before a page saves several.
  if (files.length === 1) save(files[0]);
}

// ---- what a person does

at("files").addEventListener("change", () => void send([...at("files").files]));

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", shown === "home");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget ?? at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (shown !== "home") return;
  const folders = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folders) return hint("A folder can't be sent as it is: pack it into an archive first.", true);
  void send([...event.dataTransfer.files]);
});

at("code").addEventListener("input", () => hint(""));
at("receive").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = at("code").value;
  const code = codes.parse(typed);
  if (code) return void receive(code);
  const wanted = codes.INVITE_CHARS + codes.SECRET_CHARS;
  const count = codes.tidy(typed).length;
  hint(
    count
      ? `A code has ${wanted} letters and digits; this one has ${count}.`
      : "Enter the code that the other device shows.",
    true,
  );
  at("code").focus();
});

document.addEventListener("click", ({ target }) => {
  const action = target.closest?.("[data-do]")?.dataset.do;
  if (action === "cancel") {
    retire(side?.cancel());
    home();
  } else if (action === "again") home();
});

addEventListener("beforeunload", (event) => {
  if (side && (shown === "moving" || shown === "offer")) event.preventDefault();
});
addEventListener("pagehide", () => void side?.cancel());

/** The code in the address, which is taken out of it at once, and so out of the history. */
function fromAddress() {
  const code = codes.parse(location.hash);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return code;
}
addEventListener("hashchange", () => {
  const code = fromAddress();
  if (shown === "signin") opening = code ?? opening;
  else if (code && !side) void receive(code);
});

/** The code that the page was opened with waits for who has to sign in first. */
let opening = fromAddress();

function start() {
  const code = opening;
  opening = null;
  if (code) void receive(code);
  else show("home");
  session().catch(() => {});
}

void sink.sweep();
if (await welcome()) start();
else signIn();
