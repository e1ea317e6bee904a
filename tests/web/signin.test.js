// A server that lets nobody in without a token: the page asks for it, and keeps it for its tab.

import assert from "node:assert/strict";
import { it } from "node:test";

import WebSocket from "ws";

import { Client, connect } from "../../node/web/conclave.js";
import { browser, device } from "./browser.js";
import { ALL, guarded, token } from "./guarded.js";

it("asks for a token where one is required", async (test) => {
  const { nodes } = await guarded(test);
  const chromium = await browser(test);
  const { page, picture } = await device(chromium, { name: "signin", url: nodes[0].http, begins: "#signin" });

  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await picture("signin");
  assert.equal(await page.locator("#home").isVisible(), false);
  await page.getByLabel("Token").fill("nonsense");
  await page.keyboard.press("Enter");
  await page.getByText("does not take this token").waitFor();
  await page.getByLabel("Token").fill(token(ALL));
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Send a file" }).waitFor();
  await page.getByText("Connected", { exact: true }).waitFor();

  await page.reload();
  await page.getByText("Connected", { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.length), 0, "nothing outlives the tab");
});

it("closes a client whose token is over, and its session goes on with another one", async (test) => {
  const { nodes } = await guarded(test);
  const urls = nodes.map(({ http }) => http);
  for (const bad of [undefined, "nonsense"])
    await assert.rejects(connect({ urls, WebSocket, token: bad }), { code: "unauthorized", status: 401 });
  await assert.rejects(connect({ urls, WebSocket, token: token("signal") }), { code: "forbidden", status: 403 });

  const first = await connect({ urls, WebSocket, token: token(ALL, 4) });
  const [peer, inviteCode] = [crypto.randomUUID(), "aB3dE6gH"];
  await first.claim(peer, { inviteCode });
  const over = new Promise((resolve) => first.on("state", ({ state, error }) => state === "closed" && resolve(error)));
  const { code, status } = await over;
  assert.deepEqual([code, status], ["unauthorized", 401]);

  const next = new Client({ urls, WebSocket, session: first.session, token: token(ALL) });
  const other = await connect({ urls, WebSocket, token: token(ALL) });
  test.after(() => (next.close(), other.close()));
  await next.opened;
  assert.equal(next.recovered, true);
  const heard = new Promise((resolve) => next.on("signal", ({ payload }) => resolve(payload)));
  await other.claim(crypto.randomUUID());
  assert.equal(await other.lookup(inviteCode), peer);
  await other.signal(peer, "ready", "still here");
  assert.equal(await heard, "still here");
});

it("asks for another token once the one of the page is over, and offers the same files again", async (test) => {
  const { nodes } = await guarded(test);
  const { page } = await device(await browser(test), { name: "over", url: nodes[0].http, begins: "#signin" });
  await page.getByLabel("Token").fill(token(ALL, 6));
  await page.keyboard.press("Enter");
  await page.locator("#home").waitFor();
  await page.getByText("Your token is over").waitFor();
  await page.getByLabel("Token").fill(token(ALL, 10));
  await page.keyboard.press("Enter");
  await page.setInputFiles("#files", { name: "a", mimeType: "text/plain", buffer: Buffer.from("a") });
  await page.locator("#offer-code").waitFor();
  await page.getByText("Your token is over").waitFor();
  await page.getByLabel("Token").fill(token(ALL));
  await page.keyboard.press("Enter");
  await page.locator("#offer-code").waitFor();
});
