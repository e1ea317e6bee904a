// A server that lets nobody in without a token: the page asks for it, and keeps it for its tab.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";

import { browser, device } from "./browser.js";
import { cluster } from "./cluster.js";

const SECRET = "what only issuer and nodes know, 32 bytes or more";

function token(scope) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + 600;
  const text = `${part({ alg: "HS256" })}.${part({ sub: "alice", exp, scope, peers: "*", rooms: "*" })}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

it("asks for a token where one is required", async (test) => {
  const folder = mkdtempSync(join(tmpdir(), "conclave-web-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const secret = join(folder, "secret");
  writeFileSync(secret, SECRET);
  const { nodes } = await cluster(test, "--set", "auth.required=true", "--set", `auth.keys=HS256:${secret}`);
  const chromium = await browser(test);
  const { page, picture } = await device(chromium, { name: "signin", url: nodes[0].http, begins: "#signin" });

  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await picture("signin");
  assert.equal(await page.locator("#home").isVisible(), false);
  await page.getByLabel("Token").fill("nonsense");
  await page.keyboard.press("Enter");
  await page.getByText("does not take this token").waitFor();
  await page.getByLabel("Token").fill(token("relay signal socket ice"));
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Send a file" }).waitFor();
  await page.getByText("Connected", { exact: true }).waitFor();

  await page.reload();
  await page.getByText("Connected", { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.length), 0, "nothing outlives the tab");
});
