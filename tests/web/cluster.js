// A real cluster on this machine, started as a person would: `conclave dev`.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const UP_WITHIN_MS = 60_000;

/** The server. */
export function binary() {
  const root = new URL("../../", import.meta.url);
  const target = process.env.CARGO_TARGET_DIR
    ? new URL(`file://${process.env.CARGO_TARGET_DIR}/`)
    : new URL("target/", root);
  const path = process.env.CONCLAVE_BIN ?? fileURLToPath(new URL("debug/conclave", target));
  if (!existsSync(path))
    throw new Error(`there is no ${path}: build it first, with cargo build -p conclave-node`);
  return path;
}

/** Starts three nodes; the test's end ends them. */
export async function cluster(test, ...flags) {
  // `CONCLAVE_DEV="--nodes 9"` asks the same of another cluster.
  const more = (process.env.CONCLAVE_DEV ?? "").split(" ").filter(Boolean);
  const dev = spawn(binary(), ["dev", "--json", "--no-restart", ...more, ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => dev.once("exit", resolve));
  test.after(async () => {
    dev.kill("SIGTERM");
    await ended;
  });
  const line = await Promise.race([
    new Promise((resolve) => createInterface({ input: dev.stdout }).once("line", resolve)),
    ended.then((code) => Promise.reject(new Error(`conclave dev ended with ${code}`))),
    new Promise((_, reject) => setTimeout(reject, UP_WITHIN_MS, new Error("no cluster in time")).unref()),
  ]);
  const { nodes, leader } = JSON.parse(line);
  const leading = nodes.find((node) => node.id === leader);
  const others = nodes.filter((node) => node !== leading);
  if (more.length > 0) others.sort(() => Math.random() - 0.5);
  return { nodes, leading, others };
}
