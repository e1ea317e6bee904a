// The README's JavaScript does what it says, as it is printed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { it } from "node:test";

import { cluster } from "./cluster.js";

const ROOT = new URL("../../", import.meta.url);

const README = readFileSync(new URL("README.md", ROOT), "utf8");

/** The README's programs in a language, in their order. */
const blocks = (language) =>
  [...README.matchAll(new RegExp("^```" + language + "\\n([^]*?)^```", "gm"))].map(([, block]) => block);

/** A program of the README, for nodes that are elsewhere. */
const here = (nodes, printed) =>
  nodes.reduce((text, { http }, i) => text.replaceAll(`http://127.0.0.1:${3000 + i}`, http), printed);

const run = (program, args) =>
  new Promise((resolve, reject) => {
    execFile(
      program,
      args,
      { cwd: fileURLToPath(ROOT), timeout: 60_000 },
      (error, stdout, stderr) => (error ? reject(new Error(stderr || error.message)) : resolve(stdout)),
    );
  });

it("the README's lines to try can be run twice", async (test) => {
  const { nodes } = await cluster(test);
  // Found by what it says, however the prose before it is wrapped.
  const printed = blocks("sh").find((block) => block.includes("/dev/urandom"));
  for (const time of ["first", "second"]) {
    const said = await run("sh", ["-ec", here(nodes, printed)]);
    assert.ok(!said.includes('"error"'), `${time} time: ${said}`);
    for (const part of ['"acknowledged":true', '"sdp":"v=0"', "first second", '"ready"']) {
      assert.ok(said.includes(part), `${time} time: no ${part} in ${said}`);
    }
  }
});

it("the README's JavaScript runs", async (test) => {
  const { nodes } = await cluster(test);
  const [printed] = blocks("js");
  const program = ["--input-type=module", "--eval", here(nodes, printed)];
  const output = await run(process.execPath, program);
  assert.deepEqual(output.trim().split("\n"), ["offer { sdp: 'v=0' }", "hello"]);
});
