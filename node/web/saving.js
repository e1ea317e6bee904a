// What was received: a row for each file, saved one by one or all in one archive, and nothing left behind.

import * as sink from "./sink.js";
import { at, element, list, say } from "./view.js";
import { bytes, files as manyFiles, plainName } from "./messages.js";
import { zip } from "./zip.js";

/** A browser copies what it saves; so many bytes a second at least, and at least so long. */
const COPIED_BYTES_PER_SECOND = 50e6;
const COPIED_AT_LEAST_MS = 1500;

let files = [];
let copied = 0;

/** Files that were received and not saved yet. */
export const unsaved = () => files.filter((file) => !file.saved).length;

function download(blob, name) {
  // Without its type: a page among the files must never run as one of this site's.
  const address = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  copied = Math.max(copied, performance.now() + COPIED_AT_LEAST_MS + (blob.size / COPIED_BYTES_PER_SECOND) * 1000);
}

function tick(file) {
  file.saved = true;
  file.row?.classList.add("saved");
  if (file.button) Object.assign(file.button, { textContent: "Saved", ariaLabel: `Saved ${plainName(file.name)}` });
  const left = unsaved();
  at("left-to-save").textContent = !left
    ? "All saved."
    : left < files.length
      ? `${manyFiles(left)} still to save.`
      : "";
}

function save(file) {
  download(file.blob, plainName(file.name));
  tick(file);
}

function archiveName(now = new Date()) {
  const two = (number) => String(number).padStart(2, "0");
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `Conclave ${day} ${two(now.getHours())}.${two(now.getMinutes())}.zip`;
}

/** All files in one archive: browsers let a page begin ten downloads, and drop the others without a word. */
function saveAll() {
  download(zip(files.map((file) => ({ ...file, name: plainName(file.name) }))), archiveName());
  files.forEach(tick);
  say("All files are saved in one ZIP archive.");
}

/** Shows what was received. A single file is saved at once. */
export function show(received) {
  files = received;
  at("left-to-save").textContent = "";
  list("done-files", files, (file) => {
    const name = plainName(file.name);
    file.button = element("button", {
      type: "button",
      textContent: "Save",
      onclick: () => save(file),
      ariaLabel: `Save ${name}`,
    });
    const digest = element("span", { className: "digest", textContent: file.sha256 });
    const summary = element("summary", { textContent: `${bytes(file.size)}, SHA-256` });
    return [file.button, element("details", {}, summary, digest)];
  });
  [...at("done-files").children].forEach((row, i) => files[i] && (files[i].row = row));
  at("save-all").hidden = files.length < 2;
  at("save-all").textContent = `Save all ${files.length} as ZIP`;
  at("save-all").onclick = saveAll;
  if (files.length === 1) save(files[0]);
}

/** Asks whether to leave while files are not saved; true if so. */
export async function mayLeave() {
  const left = unsaved();
  if (!left) return true;
  const dialog = at("unsaved");
  at("unsaved-text").textContent =
    left === 1 ? "One file is not saved yet. It is removed from this browser." : `${left} files are not saved yet. They are removed from this browser.`;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "leave";
}

/** Removes what was received from the browser, once what is being saved was copied. */
export function forget() {
  files = [];
  void sink.clear(Math.max(0, copied - performance.now()));
  copied = 0;
}
