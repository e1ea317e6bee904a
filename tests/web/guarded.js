// Nodes that let nobody in without a token, and such tokens.

import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { cluster } from "./cluster.js";

const SECRET = "what only issuer and nodes know, 32 bytes or more";

/** Every scope that a page needs. */
export const ALL = "relay signal socket ice";

/** A token of one subject. */
export function token(scope, seconds = 600, sub = "alice") {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const text = `${part({ alg: "HS256" })}.${part({ sub, exp, scope, peers: "*", rooms: "*" })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

/** Nodes that want a token, and take it to the second. */
export async function guarded(test) {
  const folder = mkdtempSync(join(tmpdir(), "conclave-web-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const secret = join(folder, "secret");
  writeFileSync(secret, SECRET);
  const settings = ["auth.required=true", `auth.keys=HS256:${secret}`, "auth.leeway=0s"];
  return cluster(test, ...settings.flatMap((setting) => ["--set", setting]));
}
