// The code that two people tell each other: twelve characters that the server knows, which lead to the sender, and
// twelve that it never sees, from which the keys are made.

// Crockford's alphabet: no I, L, O and U, so that nothing is misread or misspelt; five bits a character.
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
// Sixty bits: a page that is open for an hour is not found by guessing (docs/security.md).
export const INVITE_CHARS = 12;
export const SECRET_CHARS = 12;

const random = (count) =>
  [...crypto.getRandomValues(new Uint8Array(count))].map((byte) => ALPHABET[byte % 32]).join("");

/** A fresh code. 256 is a multiple of 32, so every character is as likely as any other. */
export const fresh = () => ({ invite: random(INVITE_CHARS), secret: random(SECRET_CHARS) });

/** In groups of four, for the eye. */
export const spell = ({ invite, secret }) => `${invite}${secret}`.match(/.{4}/g).join("-");

/** What was typed so far, read kindly: capitals or not, O for 0, I and L for 1, anything between the characters. */
export const tidy = (text) =>
  [...text.toUpperCase().replace(/O/g, "0").replace(/[IL]/g, "1")]
    .filter((char) => ALPHABET.includes(char))
    .join("");

/** Letters and digits that are in no code, however kindly it is read. */
export const strange = (text) =>
  [...new Set(text.toUpperCase())].filter((char) => /[\p{L}\p{N}]/u.test(char) && !tidy(char));

/** Reads a code, or the address with a code in it; null if it is none. */
export const parse = (text) => {
  const chars = tidy(text.includes("#") ? text.slice(text.indexOf("#") + 1) : text);
  if (chars.length !== INVITE_CHARS + SECRET_CHARS) return null;
  return { invite: chars.slice(0, INVITE_CHARS), secret: chars.slice(INVITE_CHARS) };
};
