// The ways that bytes and people take: direct and relayed, back and forward, late and long.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { ARRIVES_WITHIN_MS, browser, device } from "./browser.js";
import { cluster } from "./cluster.js";
import { Proxy } from "./proxy.js";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const upload = (name, size) => ({ name, mimeType: "application/octet-stream", buffer: randomBytes(size) });

describe("the page goes on", { concurrency: 1, timeout: 600_000 }, () => {
  const ends = [];
  const whole = { after: (end) => ends.push(end) };
  let [nodes, chromium] = [];
  before(async () => {
    ({ nodes } = await cluster(whole));
    // As people have it; drivers turn it off otherwise.
    chromium = await browser(whole, { ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  });
  after(async () => {
    for (const end of ends.reverse()) await end();
  });

  async function open(test, { before = () => {}, ...options }) {
    const made = await device(chromium, { name: "page", url: nodes[0].http, ...options });
    test.after(() => made.page.context().close());
    await made.page.addInitScript(before);
    // What is said of the way, though it may be over before anybody looks.
    await made.page.addInitScript(() => {
      window.ways = [];
      document.addEventListener("DOMContentLoaded", () => {
        const way = document.querySelector("#way");
        const note = () => way.textContent !== ways.at(-1)?.text && ways.push({ at: Date.now(), text: way.textContent });
        new MutationObserver(note).observe(way, { childList: true, characterData: true, subtree: true });
      });
    });
    await made.page.reload();
    return made;
  }

  async function pair(sender, receiver, files) {
    await sender.page.setInputFiles("#files", files);
    await sender.page.getByText("Waiting for the other device").waitFor();
    const code = await sender.page.locator("#offer-code").textContent();
    await receiver.page.getByLabel("Got a code?").fill(code);
    await receiver.page.keyboard.press("Enter");
    await receiver.page.locator("#accept-yes").waitFor();
    return code;
  }

  const direct = /^Straight from device to device/;
  const relayed = /^Through the relay/;
  const said = async ({ page }) => (await page.evaluate(() => ways)).map(({ text }) => text);

  it("straight, though without sockets signals jostle and offers are late", async (test) => {
    const before = () => void delete window.WebSocket;
    const [sender, receiver] = [await open(test, { before }), await open(test, { before, url: nodes[1].http })];
    for (const { page } of [sender, receiver]) {
      await page.route("**/api/relay", async (route) => {
        const { action, type } = route.request().postDataJSON();
        if (action === "signal") {
          const late = ["offer", "answer"].includes(type) ? 500 : Math.random() * 100;
          await new Promise((resolve) => setTimeout(resolve, late));
        }
        await route.continue().catch(() => {});
      });
    }
    const sent = upload("late.bin", 5_000_000);
    await pair(sender, receiver, [sent]);
    const saved = receiver.page.waitForEvent("download");
    await receiver.page.locator("#accept-yes").click();
    assert.equal(sha256(readFileSync(await (await saved).path())), sha256(sent.buffer));
    const told = await said(receiver);
    assert.ok(told.some((text) => direct.test(text)) && !told.some((text) => relayed.test(text)), told.join("\n"));
  });

  it("back on the direct way, once that works again", async (test) => {
    // For a while nothing that the sender says on its channel gets through.
    const before = () => {
      const send = RTCDataChannel.prototype.send;
      RTCDataChannel.prototype.send = function (data) {
        if (!window.mute) send.call(this, data);
      };
    };
    const line = await Proxy.before(test, nodes[0].http);
    const sender = await open(test, { before, url: line.url });
    const receiver = await open(test, { url: nodes[1].http });
    // The relay is slow here, so that there is something left to do when the direct way is back.
    await sender.page.route(/api\/v1\/nodes/, (route) => route.fulfill({ json: { nodes: [] } }));
    await sender.page.reload();
    const folder = mkdtempSync(join(tmpdir(), "conclave-web-"));
    test.after(() => rmSync(folder, { recursive: true }));
    const [path, bytes] = [join(folder, "back.bin"), randomBytes(6_000_000)];
    writeFileSync(path, bytes);
    await pair(sender, receiver, path);
    await sender.page.evaluate(() => void (window.mute = true));
    line.rate = 100_000;
    const saved = receiver.page.waitForEvent("download", { timeout: ARRIVES_WITHIN_MS });
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.waitForFunction(() => ways.some(({ text }) => text.startsWith("Through the relay")));
    await sender.page.evaluate(() => void (window.mute = false));
    const works = Date.now();
    assert.equal(sha256(readFileSync(await (await saved).path())), sha256(bytes));
    const told = await receiver.page.evaluate(() => ways);
    const last = told.findLast(({ text }) => /^(Straight|Through)/.test(text));
    assert.match(last.text, direct);
    const took = told.find(({ at, text }) => at > works && text.startsWith("Straight")).at - works;
    assert.ok(took < 25_000, `${took} ms`);
  });

  it("under a fresh code, after people went elsewhere and back", async (test) => {
    const [sender, receiver] = [await open(test, {}), await open(test, { url: nodes[1].http })];
    await sender.page.setInputFiles("#files", [upload("file", 1000)]);
    await sender.page.getByText("Waiting for the other device").waitFor();
    const code = await sender.page.locator("#offer-code").textContent();
    await sender.page.evaluate(() => addEventListener("pageshow", ({ persisted }) => (window.persisted = persisted)));
    await sender.page.goto(`${nodes[0].http}/style.css`);
    // Nothing is loaded then.
    await sender.page.goBack({ waitUntil: "commit" });
    await sender.page.getByRole("heading", { name: "This page was away" }).waitFor();
    assert.equal(await sender.page.evaluate(() => window.persisted), true, "the page came out of the browser's memory");
    assert.equal(await sender.page.locator("#offer").isVisible(), false);
    await receiver.page.getByLabel("Got a code?").fill(code);
    await receiver.page.keyboard.press("Enter");
    await receiver.page.getByRole("heading", { name: "No device is waiting under this code" }).waitFor();
    await receiver.page.getByRole("button", { name: "Start again" }).click();
    await sender.page.getByRole("button", { name: "Offer the same files again" }).click();
    await sender.page.getByText("Waiting for the other device").waitFor();
    const fresh = await sender.page.locator("#offer-code").textContent();
    assert.notEqual(fresh, code);
    await receiver.page.getByLabel("Got a code?").fill(fresh);
    await receiver.page.keyboard.press("Enter");
    await receiver.page.locator("#accept-yes").waitFor();
  });

  it("with thousands of small files", async (test) => {
    const [sender, receiver] = [await open(test, {}), await open(test, { url: nodes[1].http })];
    const files = Array.from({ length: 3000 }, (_, i) => upload(`${i}.txt`, i % 50));
    await pair(sender, receiver, files);
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.getByText(/^3000 files, .* checked, exactly as sent/).waitFor({ timeout: ARRIVES_WITHIN_MS });
    await receiver.page.locator("#done-files").getByText("and 2500 more").waitFor();
    const [saved] = await Promise.all([
      receiver.page.waitForEvent("download", { timeout: ARRIVES_WITHIN_MS }),
      receiver.page.getByRole("button", { name: "Save all" }).click(),
    ]);
    // At its very end an archive says how many files it has.
    const archive = readFileSync(await saved.path());
    assert.equal(archive.readUInt16LE(archive.length - 12), 3000);
  });
});
