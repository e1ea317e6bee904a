// The page: what a person does, and what follows from it.

import * as codes from "./code.js";
import * as link from "./link.js";
import { progress, startMeter, way } from "./meter.js";
import { qr } from "./qr.js";
import { Receiver } from "./receiver.js";
import * as saving from "./saving.js";
import { Sender } from "./sender.js";
import { TransferError } from "./side.js";
import * as sink from "./sink.js";
import { Transfers } from "./transfers.js";
import { at, element, list, notice, say, show, shown, total, wait } from "./view.js";
import { bytes, files as manyFiles, plainName, words } from "./messages.js";

const relayOnly = new URLSearchParams(location.search).get("relay") === "1";
/** The sender or receiver of this moment. */
let side = null;
/** What is offered now, or was last: `{ files, code }`. */
let offered = null;
/** Whether the other device is silent: that is to be read whatever else goes on. */
let silent = false;
/** Counts what was begun and ended, so that news of what is over is not shown. */
let turn = 0;

/** So many characters that no code has are named; more of them are no code at all. */
const STRANGE_MAX = 3;

/** What this browser lacks, if anything. */
function lacking() {
  if (!isSecureContext) return "insecure";
  return globalThis.crypto?.subtle && AbortSignal.any && navigator.locks ? null : "old_browser";
}

/** Whether the server does not take the token any more. */
const tokenIsOver = (error) => error?.status === 401 || error?.code === "unauthorized";

function failed(error) {
  side?.end();
  if (tokenIsOver(error)) return signIn("Your token is over. Ask for a new one.");
  retire();
  trouble(error);
}

function trouble(error) {
  const { title, text } = words(error);
  at("trouble-title").textContent = title;
  at("trouble-text").textContent = text;
  at("offer-again").hidden = !offered || error.code === "unreadable_file";
  at("trouble-again").hidden = Boolean(lacking());
  show("trouble");
}

function home() {
  offered = null;
  at("files").value = "";
  hint("");
  show("home");
}

function hint(text, bad = false) {
  at("code-hint").textContent = text;
  at("code-hint").classList.toggle("bad", bad);
}

// ---- the credential

/** Kept for this tab: a reload finds it, another tab and tomorrow do not. A browser may let a page keep nothing. */
const TOKEN = "conclave.token";
let kept = stored(() => sessionStorage.getItem(TOKEN)) ?? undefined;
const token = () => kept;

function stored(act) {
  try {
    return act();
  } catch {
    // Site data is blocked: the token lasts as long as the page.
  }
}

function keep(token) {
  kept = token;
  stored(() => (token ? sessionStorage.setItem(TOKEN, token) : sessionStorage.removeItem(TOKEN)));
}

/** Whether the server lets this page in, with the token it has or without one. One that can't be asked is not a no. */
async function welcome() {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  const asked = fetch(`${link.base}api/v1/nodes`, { headers, cache: "no-store" }).catch(() => null);
  const reply = await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 3000))]);
  return reply?.status !== 401;
}

function signIn(text) {
  keep(undefined);
  drop();
  if (text) at("token-hint").textContent = text;
  at("token-hint").classList.toggle("bad", Boolean(text));
  show("signin");
}

at("sign").addEventListener("submit", async (event) => {
  event.preventDefault();
  const typed = at("token").value.trim();
  if (!/^[\w.~+/=-]+$/.test(typed)) return signIn("Paste the whole token: letters, digits and dots.");
  keep(typed);
  if (!(await welcome())) return signIn("The server does not take this token: it may be over, or not for this server.");
  at("token").value = "";
  retire();
  start();
});

// ---- the connection

/** What was begun is over, `last` words apart. */
function drop(last) {
  turn++;
  side = null;
  silent = false;
  link.retire(last);
}

function retire(last) {
  drop(last);
  link.session(token());
}

async function begin(Kind, options) {
  const lack = lacking();
  if (lack) throw new TransferError(lack);
  const client = link.session(token());
  await client.opened;
  return new Kind({ client, transfers: new Transfers(client), relayOnly, ...options });
}

const WAITING = {
  sending: ["Making a code", "This takes a moment."],
  receiving: ["Looking for the other device", "This takes a moment."],
};
/** What is waited for: one of those. */
let waiting = "receiving";

/** Says what is waited for, or that it is the server. */
function waitFor(what = waiting) {
  waiting = what;
  const [title, text] = WAITING[what];
  if (link.state === "unreachable")
    wait("The server can't be reached", "This goes on by itself once it can. Is this device online?");
  else wait(link.state === "open" ? title : "Connecting to the server", text);
}

/** Where a token that is over is told at once; elsewhere it is with the next thing that needs it. */
const ASKS_AT_ONCE = ["home", "finding"];

link.watch((state, error) => {
  if (error && (side || (tokenIsOver(error) && ASKS_AT_ONCE.includes(shown)))) return failed(error);
  if (shown === "finding") waitFor();
  if (offered?.code) showOffer();
});

// ---- sending

async function send(files) {
  if (!files.length) return;
  const mine = turn;
  const code = codes.fresh();
  offered = { files, code: null };
  waitFor("sending");
  try {
    const on = (state) => mine === turn && sending(state, files, code);
    const sender = await begin(Sender, { files, on });
    if (mine !== turn) return;
    side = sender;
    sender.client.on("error", (error) => mine === turn && error.code && failed(error));
    await sender.offer(code);
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

function sending(state, files, code) {
  const { phase } = state;
  if (phase === "waiting" || phase === "left") {
    offered = { files, code };
    list("offer-files", files);
    showOffer();
    at("offer-note").textContent =
      phase === "left" ? "The other device closed or reloaded its page. The code still works." : "";
    show("offer");
  } else if (phase === "paired") {
    offered = { files, code: null };
    silent = false;
    startMeter("Connected", files);
    progress({ done: 0, via: "direct" });
    way("Waiting for the other person to accept.");
    show("moving");
  } else if (phase === "sending") {
    at("moving-title").textContent = `Sending ${manyFiles(files.length)}`;
    progress(state);
    if (silent) asleep();
  } else if (phase === "checking") way("Everything is over there and is being checked.");
  else if (phase === "second")
    notice("A second device entered this code and was turned away. If that was not you, cancel: somebody else knows the code.");
  else if (phase === "quiet") {
    silent = true;
    asleep();
  } else if (phase === "heard") {
    silent = false;
    way("The other device is there again.");
  } else if (phase === "done") {
    retire();
    offered = null;
    at("done-title").textContent = "Sent";
    const arrived = state.checked ? "arrived and checked on the other device" : "arrived on the other device";
    at("done-text").textContent = `${manyFiles(files.length)}, ${bytes(total(files))}: ${arrived}.`;
    at("save-all").hidden = true;
    at("left-to-save").textContent = "";
    list("done-files", files);
    show("done");
  } else if (phase === "failed") failed(state.trouble);
}

function asleep() {
  way("The other device does not answer. It may be asleep or offline; this goes on by itself once it is back.", true);
}

/** The code, its link and its picture: while a node is there that others can ask, and only then. */
function showOffer() {
  const reached = link.state === "open";
  at("offer-code").hidden = at("qr").hidden = at("copies").hidden = at("offer-waiting").hidden = !reached;
  at("offer-away").hidden = reached;
  at("offer-lead").hidden = !reached;
  at("offer-title").textContent = reached ? "On the other device, enter this code" : "The code is not reachable now";
  at("offer-away-text").textContent =
    link.state === "unreachable"
      ? "The server can't be reached. Your files stay chosen, and the code is shown again once it can."
      : "Connecting again…";
  if (!reached) return at("qr").replaceChildren(), at("offer-code").replaceChildren();
  const spelled = codes.spell(offered.code);
  const address = `${link.address()}#${spelled}`;
  at("place").textContent = link.address().replace(/^https?:\/\/|\/$/g, "");
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
  offered = null;
  // After an error the code is still there, to be compared or tried again.
  at("code").value = codes.spell(code);
  waitFor("receiving");
  try {
    const on = (state) => mine === turn && receiving(state);
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
    way("Looking for the shortest way.");
    if (silent) asleep();
    show("moving");
    received(await receiver.accept(sink.roomFor));
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

function receiving(state) {
  if (state.phase === "second")
    notice("Another device entered this code, too, and was turned away. If that was neither of you, tell the sender.");
  else if (state.phase === "quiet" && shown === "accept")
    notice("The other device does not answer. It may be asleep or offline.");
  else if (state.phase === "heard" && shown === "accept") notice("");
  if (["quiet", "heard"].includes(state.phase)) silent = state.phase === "quiet";
  if (shown !== "moving") return;
  if (silent) asleep();
  else if (state.phase === "stalled")
    way("Nothing arrives at the moment. This goes on by itself once something does.", true);
  else if (state.phase === "receiving") progress(state);
}

function received(files) {
  retire();
  at("code").value = "";
  at("done-title").textContent = "Received";
  at("done-text").textContent =
    `${manyFiles(files.length)}, ${bytes(total(files))}: checked, exactly as sent.`;
  saving.show(files);
  show("done");
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
  const strange = codes.strange(typed);
  hint(
    strange.length && strange.length <= STRANGE_MAX && !typed.includes("://")
      ? `No code has ${strange.join(" or ")} in it. Please compare it again.`
      : count
        ? `A code has ${wanted} letters and digits; this one has ${count}.`
        : "Enter the code that the other device shows.",
    true,
  );
  at("code").focus();
});

document.addEventListener("click", async ({ target }) => {
  const action = target.closest?.("[data-do]")?.dataset.do;
  if (action === "cancel") {
    retire(side?.cancel());
    home();
  } else if (action === "again") {
    if (await leaveResult()) home();
  } else if (action === "offer-again") void send(offered.files);
});

/** Gives up what was received, if there is something and a person agrees. */
async function leaveResult() {
  if (shown === "done" && !(await saving.mayLeave())) return false;
  saving.forget();
  return true;
}

addEventListener("beforeunload", (event) => {
  const busy = side && (shown === "moving" || shown === "offer");
  if (busy || saving.unsaved()) event.preventDefault();
});

addEventListener("pagehide", () => {
  side?.leave();
  link.leave();
  saving.forget();
});

// A page that comes back out of the browser's memory has lost its code, its other side and its connection.
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  turn++;
  side = null;
  if (shown === "signin") return;
  link.session(token());
  if (offered) trouble(new TransferError("was_away"));
  else home();
});

/** The code in the address, which is taken out of it at once, and so out of the history. */
function fromAddress() {
  const code = codes.parse(location.hash);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return code;
}
addEventListener("hashchange", async () => {
  const code = fromAddress();
  if (!code) return;
  if (shown === "signin") opening = code;
  else if (side || shown === "finding") {
    const own = offered?.code ?? codes.parse(at("code").value);
    if (!own || codes.spell(code) !== codes.spell(own))
      notice("A link with another code was opened. Cancel this first, or open the link in another tab.");
  } else if (await leaveResult()) void receive(code);
});

/** The code that the page was opened with waits for who has to sign in first. */
let opening = fromAddress();

function start() {
  const code = opening;
  opening = null;
  link.session(token());
  if (code) void receive(code);
  // Chosen before the token was over.
  else if (offered) void send(offered.files);
  else show("home");
}

const lack = lacking();
if (lack) trouble(new TransferError(lack));
else {
  void sink.sweep();
  if (await welcome()) start();
  else signIn();
}
