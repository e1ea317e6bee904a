// What the page is made of: its sections, and the small things that all of them use.

import { awake } from "./awake.js";
import { bytes, plainName } from "./messages.js";

export const at = (id) => document.getElementById(id);

const SECTIONS = ["signin", "home", "offer", "finding", "accept", "moving", "done", "trouble"];
/** While these are shown the screen stays on. */
const AWAKE = ["offer", "moving"];
/** Rows of a list that are shown; a page with tens of thousands is of no use to anybody. */
const ROWS_MAX = 500;

/** The section that is shown. */
export let shown = null;

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Shows one section; its heading gets the focus, so that a screen reader begins there. */
export function show(name) {
  if (shown === name) return;
  for (const section of SECTIONS) at(section).hidden = section !== name;
  title(name);
  awake(AWAKE.includes(name));
  if (!["accept", "moving"].includes(name)) notice("");
  if (shown) {
    scrollTo(0, 0);
    at(`${name}-title`).focus();
  }
  shown = name;
}

function title(name) {
  document.title =
    { home: "Conclave: send a file to another device" }[name] ??
    `${at(`${name}-title`).textContent} – Conclave`;
}

/** Waits for something, and says for what. */
export function wait(heading, text) {
  at("finding-title").textContent = heading;
  at("finding-text").textContent = text;
  if (shown === "finding") title("finding");
  else show("finding");
}

export const say = (text) => (at("news").textContent = text);

/** Something that a person should know beside what goes on. */
export function notice(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

export const total = (files) => files.reduce((sum, file) => sum + file.size, 0);

/** Puts a row for each file into a list; `row` makes more than name and size. */
export function list(place, files, row = ({ size }) => [element("span", { className: "size", textContent: bytes(size) })]) {
  const rows = files.slice(0, ROWS_MAX).map((file) => {
    const name = plainName(file.name);
    return element("li", {}, element("span", { className: "name", textContent: name, title: name }), ...row(file));
  });
  const more = files.length - rows.length;
  if (more > 0) rows.push(element("li", { className: "more", textContent: `and ${more} more` }));
  at(place).replaceChildren(...rows);
}
