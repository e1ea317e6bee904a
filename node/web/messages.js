// What a person reads: errors, sizes, times, names.

const TROUBLES = {
  unknown_code: [
    "No device is waiting under this code",
    "Check the code, or ask for a new one: it ends when the sender's page is closed or the files have been fetched.",
  ],
  wrong_secret: [
    "The code is not quite right",
    "Its first twelve characters lead to a waiting device, the rest does not fit. Please compare it again.",
  ],
  taken: [
    "Another device has this code",
    "It is receiving the files, or about to. If that is not you, tell the sender: somebody else knows the code.",
  ],
  taken_over: [
    "Another device took over",
    "It entered the same code while this page did not answer. If that is not you, tell the sender: somebody else knows the code.",
  ],
  closed: [
    "The other device closed its page",
    "Or it was reloaded, and its files have to be chosen again. Ask for a new code.",
  ],
  no_answer: [
    "The other device does not answer",
    "Its page may be asleep in the background. Bring it to the front there, then try again.",
  ],
  gone: [
    "The other device is gone",
    "Nothing has come from it for three minutes. Are both devices online, and both pages open?",
  ],
  damaged: [
    "A file arrived damaged",
    "Its checksum differs from the sender's, so it was thrown away. Please send it again.",
  ],
  too_large: [
    "This browser can't hold a file of that size",
    "There is too little room here. Make some, or receive it on another device.",
  ],
  too_many_files: ["Too many files at once", "Pack them into one archive and send that."],
  unreadable_file: [
    "A file can't be read any more",
    "It was changed, moved or deleted after it was chosen. Choose it again.",
  ],
  other_unreadable_file: [
    "The other device can't read a file any more",
    "It was changed, moved or deleted there after it was chosen. Ask the sender to choose it again, under a new code.",
  ],
  other_cancelled: ["The other person cancelled", "Nothing is left behind on either side."],
  other_damaged: [
    "A file arrived damaged",
    "The other device found a wrong checksum and threw the file away. Please send it again.",
  ],
  other_too_large: ["The other device has too little room", "Its browser can't hold a file of that size."],
  other_gone: ["The connection to the other device was lost", "It gave up after three minutes without an answer."],
  was_away: [
    "This page was away",
    "Its code ended when it was left. The same files can be offered again, under a new code.",
  ],
  insecure: [
    "This page needs a secure address",
    "Browsers encrypt only on pages that came by https:// (or from this very machine). Ask whoever runs this server for its https address.",
  ],
  old_browser: [
    "This browser is too old",
    "It lacks what the encryption needs. A current Firefox, Chrome, Edge or Safari has it.",
  ],
  unauthorized: [
    "This server wants to know who you are",
    "It admits only clients with a credential, and this page has none. Ask whoever runs it.",
  ],
  forbidden: ["This server does not allow it", "Ask whoever runs it."],
  refused: ["This server does not let this page in", "Ask whoever runs it."],
  rate_limit_exceeded: ["Too many tries", "This network has asked too often. Wait a minute, then try again."],
  unreachable: ["The server can't be reached", "Check this device's connection, then try again."],
};

/** An error in words. */
export function words(error) {
  const [title, text] = TROUBLES[error.code] ?? [
    "That did not work",
    "Something unexpected happened. Please try again.",
  ];
  return { title, text };
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** A size in powers of ten, three digits at most. */
export function bytes(count) {
  let unit = 0;
  for (; count >= 999.5 && unit < UNITS.length - 1; unit++) count /= 1000;
  const digits = unit && count < 9.95 ? 1 : 0;
  return `${count.toFixed(digits)}\u00a0${UNITS[unit]}`;
}

/** A time that is left. */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))}\u00a0s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)}\u00a0min`;
  return `${Math.floor(seconds / 3600)}\u00a0h ${Math.round((seconds % 3600) / 60)}\u00a0min`;
}

/** Bytes of a name in UTF-8 that file systems take. */
export const NAME_BYTES_MAX = 255;

const utf8Bytes = (text) => new TextEncoder().encode(text).length;

/** The end of a name that has `max` bytes at most: what kind of file it is stands there. */
export function ending(name, max = NAME_BYTES_MAX) {
  const chars = [...name];
  let from = chars.length;
  for (let bytes = 0; from > 0 && (bytes += utf8Bytes(chars[from - 1])) <= max;) from--;
  return chars.slice(from).join("");
}

/** `name` with `more` before its `type`; the beginning gives way if it is too long. */
export const lengthened = (name, more, type) => ending(name, NAME_BYTES_MAX - utf8Bytes(more + type)) + more + type;

/** A name is shown and saved without what could make it look like another one, or lead elsewhere. */
export function plainName(name) {
  const plain = ending(String(name).replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069/\\]/gu, "_"));
  return plain.replace(/^\.{1,2}$/, (dots) => "_".repeat(dots.length)) || "file";
}

export const files = (count) => (count === 1 ? "1 file" : `${count} files`);
