// The README's JavaScript does what it says, as it is printed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { it } from "node:test";

import { cluster } from "./cluster.js";

const ROOT = new URL("../../", import.meta.url);

it("the README's JavaScript runs", async (test) => {
  const { nodes } = await cluster(test);
  const [, printed] = readFileSync(new URL("README.md", ROOT), "utf8").match(/```js\n([\s\S]*?)```/);
  const here = nodes.reduce(
    (text, { http }, i) => text.replace(`http://127.0.0.1:${3000 + i}`, http),
    printed,
  );
  const output = await new Promise((resolve, reject) => {
    const program = ["--input-type=module", "--eval", here];
    execFile(
      process.execPath,
      program,
      { cwd: fileURLToPath(ROOT), timeout: 60_000 },
      (error, stdout, stderr) => (error ? reject(new Error(stderr || error.message)) : resolve(stdout)),
    );
  });
  // The signal is handed out while the transfer goes on, so the order is open.
  assert.deepEqual(output.trim().split("\n").sort(), ["hello", "offer { sdp: 'v=0' }"]);
});
