// `conclave dev --lan`: what is printed leads a phone to the page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { get } from "node:https";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { binary } from "./cluster.js";
import { read } from "./qr.js";

/** Rows of modules, of a code that is drawn in half blocks: what is light is drawn. */
function modules(lines) {
  const rows = lines.flatMap((line) => {
    const row = (light) => [...line].map((char) => !light.includes(char));
    return [row("█▀"), row("█▄")];
  });
  return rows.slice(0, lines[0].length);
}

const status = (url) =>
  new Promise((resolve, reject) => {
    // The certificate is the run's own; a phone's owner compares its fingerprint.
    get(url, { rejectUnauthorized: false }, (answer) => resolve(answer.resume().statusCode)).once("error", reject);
  });

test("the code in the terminal leads to the page, over https", { timeout: 60_000 }, async (it) => {
  const dev = spawn(binary(), ["dev", "--no-open", "--lan=127.0.0.1"], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => dev.once("exit", resolve));
  it.after(async () => {
    dev.kill("SIGTERM");
    await ended;
  });
  const drawn = [];
  let address;
  for await (const line of createInterface({ input: dev.stdout })) {
    address ??= line.match(/scan this or open (\S+)/)?.[1];
    if (/^[█▀▄ ]+$/.test(line) && line.trim()) drawn.push(line);
    if (line.startsWith("Logs:")) break;
  }
  assert.match(address ?? "nothing", /^https:\/\/127\.0\.0\.1:\d+\/$/);
  assert.equal(read(modules(drawn)), address);
  assert.equal(await status(address), 200);
});
