// How far the files are, how fast, and which way.

import { at, list, say, shown, total } from "./view.js";
import { bytes, duration } from "./messages.js";

const WAYS = {
  direct: "Straight from device to device, encrypted from end to end.",
  relay: "Through the relay, encrypted from end to end.",
};

/** A transfer tells of every record; it is shown so often. */
const SHOWN_EVERY_MS = 100;

let samples = [];
let size = 0;
/** What is not shown yet. */
let latest = null;
let timer = null;

export function startMeter(title, files) {
  [samples, size, latest] = [[], total(files), null];
  at("moving-title").textContent = title;
  list("moving-files", files);
  at("rate").textContent = at("left").textContent = "";
}

/** What the line below the bar says instead of the way. */
export function way(text, bad = false) {
  if (latest) paint();
  at("way").textContent = text;
  at("way").classList.toggle("bad", bad);
  at("rate").textContent = at("left").textContent = "";
}

export function progress(state) {
  latest = state;
  if (timer) return;
  paint();
  timer = setTimeout(() => {
    timer = null;
    // The title belongs to another section by now.
    if (latest && shown === "moving") progress(latest);
  }, SHOWN_EVERY_MS);
}

/** Speed over the last few seconds, so that it neither jumps nor lies. */
function paint() {
  const { done, via } = latest;
  latest = null;
  const now = performance.now();
  if (samples.length && done < samples.at(-1).done) samples.length = 0;
  samples.push({ now, done });
  while (samples.length > 2 && now - samples[0].now > 4000) samples.shift();
  const [first] = samples;
  const speed = now - first.now > 400 ? ((done - first.done) * 1000) / (now - first.now) : 0;
  const share = size ? done / size : 1;
  const percent = `${Math.floor(share * 100)}%`;
  at("bar").value = share;
  if (at("percent").textContent !== percent) {
    at("percent").textContent = percent;
    document.title = `${percent} – Conclave`;
    if (Math.floor(share * 100) % 25 === 0) say(percent);
  }
  at("amount").textContent = `${bytes(done)} of ${bytes(size)}`;
  at("rate").textContent = speed ? `${bytes(speed)}/s` : "";
  at("left").textContent = speed && share < 1 ? `${duration((size - done) / speed)} left` : "";
  at("way").textContent = WAYS[via];
  at("way").classList.remove("bad");
}
