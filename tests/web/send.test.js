// A file goes from one page to another, each served by another node.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";

import { ARRIVES_WITHIN_MS, browser, device, PHONE, WIDE } from "./browser.js";
import { cluster } from "./cluster.js";

const MEGABYTE = 1_000_000;

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** A file of noise in a folder of its own. */
function file(test, bytes, name = "photos of the garden.zip") {
  const folder = mkdtempSync(join(tmpdir(), "conclave-web-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, name);
  const content = randomBytes(bytes);
  writeFileSync(path, content);
  return { path, name, digest: sha256(content) };
}

/** The sender chooses files and reads the code out; the receiver types it and accepts. */
async function pair(sender, receiver, files) {
  await sender.page.setInputFiles(
    "#files",
    files.map(({ path }) => path),
  );
  await sender.page.getByText("Waiting for the other device").waitFor();
  await sender.picture("offer");
  const code = await sender.page.locator("#offer-code").textContent();
  assert.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){5}[0-9A-HJKMNP-TV-Z]{4}$/);
  // As a person would: in small letters, with blanks, and Enter.
  await receiver.page.getByLabel("Got a code?").fill(code.toLowerCase().replaceAll("-", " "));
  await receiver.page.keyboard.press("Enter");
  await receiver.page.locator("#accept-yes").waitFor();
  await receiver.picture("accept");
  await sender.page.getByText("Waiting for the other person").waitFor();
  await sender.picture("paired");
}

/** Accepts and waits for the file to be saved. */
async function accept(receiver, meanwhile = async () => {}) {
  const download = receiver.page.waitForEvent("download", { timeout: ARRIVES_WITHIN_MS });
  download.catch(() => {});
  await receiver.page.locator("#accept-yes").click();
  await meanwhile();
  const saved = await download;
  return { name: saved.suggestedFilename(), digest: sha256(readFileSync(await saved.path())) };
}

const halfWay = (device, share) =>
  device.page.waitForFunction((share) => document.querySelector("#bar").value > share, share, {
    timeout: ARRIVES_WITHIN_MS,
  });

async function bothDone(sender, receiver) {
  await sender.page.getByRole("heading", { name: "Sent" }).waitFor();
  await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
  await sender.picture("sent");
  await receiver.picture("received");
  assert.deepEqual([...sender.unforeseen, ...receiver.unforeseen], []);
}

describe("sending a file", { concurrency: 1 }, () => {
  it("straight from device to device", async (test) => {
    const { nodes } = await cluster(test);
    const chromium = await browser(test);
    const sender = await device(chromium, { name: "sender", url: nodes[0].http });
    const receiver = await device(chromium, { name: "receiver", url: nodes[1].http, look: PHONE });
    await receiver.picture("home");
    const sent = file(test, 20 * MEGABYTE);
    await pair(sender, receiver, [sent]);

    const arrived = await accept(receiver, async () => {
      // Waited for from the start: it is gone once the file is there.
      await Promise.all([halfWay(receiver, 0.1), receiver.page.getByText("Straight from device to device").waitFor()]);
      await receiver.picture("receiving");
    });
    assert.deepEqual(arrived, { name: sent.name, digest: sent.digest });
    assert.equal(await sender.page.evaluate(() => window.channelsOpened), 1);
    await bothDone(sender, receiver);
    assert.equal(await receiver.page.locator(".digest").textContent(), sent.digest);
  });

  it("through the relay, where WebRTC is not to be had", async (test) => {
    const { nodes } = await cluster(test);
    const chromium = await browser(test);
    const sender = await device(chromium, { name: "sender", url: nodes[0].http, look: PHONE, webrtc: false });
    const receiver = await device(chromium, {
      name: "receiver",
      url: nodes[1].http,
      look: WIDE,
      webrtc: false,
    });
    await receiver.picture("home");
    const sent = file(test, 20 * MEGABYTE);
    await pair(sender, receiver, [sent]);

    const arrived = await accept(receiver, async () => {
      // Waited for from the start: it is gone once the file is there.
      await Promise.all([halfWay(receiver, 0.1), receiver.page.getByText("Through the relay").waitFor()]);
      await receiver.picture("receiving");
      await sender.picture("sending");
    });
    assert.deepEqual(arrived, { name: sent.name, digest: sent.digest });
    await bothDone(sender, receiver);
  });

  it("through the relay, though the sender's node is killed on the way, which leads", async (test) => {
    const { leading, others } = await cluster(test);
    const chromium = await browser(test);
    const sender = await device(chromium, { name: "sender", url: leading.http, webrtc: false });
    const receiver = await device(chromium, { name: "receiver", url: others[0].http, webrtc: false });
    const sent = file(test, 20 * MEGABYTE);
    await pair(sender, receiver, [sent]);

    let at;
    const arrived = await accept(receiver, async () => {
      await halfWay(receiver, 0.15);
      process.kill(leading.pid, "SIGKILL");
      at = await receiver.page.locator("#bar").evaluate((bar) => bar.value);
    });
    assert.ok(at < 1, "the file had arrived before the node was killed");
    assert.deepEqual(arrived, { name: sent.name, digest: sent.digest });
    await bothDone(sender, receiver);
  });

  it("several at once, an empty one among them, by link", async (test) => {
    const { nodes } = await cluster(test);
    const chromium = await browser(test);
    const sender = await device(chromium, { name: "sender", url: nodes[0].http });
    const receiver = await device(chromium, { name: "receiver", url: nodes[1].http });
    const files = [
      file(test, 0, "empty"),
      file(test, 200_000, "two.bin"),
      file(test, 49_135, "one record.bin"),
    ];
    await sender.page.setInputFiles(
      "#files",
      files.map(({ path }) => path),
    );
    await sender.page.getByText("Waiting for the other device").waitFor();
    const code = await sender.page.locator("#offer-code").textContent();
    await receiver.page.goto(`${nodes[1].http}/#${code}`);
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
    assert.equal(new URL(receiver.page.url()).hash, "", "the code stays in the history");

    for (const { name, digest } of files) {
      const [saved] = await Promise.all([
        receiver.page.waitForEvent("download"),
        receiver.page.getByRole("button", { name: `Save ${name}` }).click(),
      ]);
      assert.deepEqual([saved.suggestedFilename(), sha256(readFileSync(await saved.path()))], [name, digest]);
      const button = receiver.page.getByRole("button", { name: `Saved ${name}` });
      assert.equal(await button.textContent(), "Saved", "it is called what is written on it");
    }
    await bothDone(sender, receiver);
  });

  it("knows what a browser has room for before a byte has come", async (test) => {
    const { nodes } = await cluster(test);
    const chromium = await browser(test);
    const sender = await device(chromium, { name: "sender", url: nodes[0].http });
    const receiver = await device(chromium, { name: "receiver", url: nodes[1].http });
    const { origin } = new URL(nodes[1].http);
    const quota = await receiver.page.context().newCDPSession(receiver.page);
    await quota.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 8 * MEGABYTE });

    // Too much for the browser's files and for a tab's memory. It has no bytes on this disk, and none are read.
    const large = file(test, 0, "large.iso");
    truncateSync(large.path, 1_100 * MEGABYTE);
    await pair(sender, receiver, [large]);
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.getByRole("heading", { name: "This browser can't hold a file of that size" }).waitFor();
    await sender.page.getByRole("heading", { name: "The other device has too little room" }).waitFor();
    assert.equal(await receiver.page.locator("#bar").evaluate((bar) => bar.value), 0);

    // Too much for the browser's files alone.
    for (const { page } of [sender, receiver]) await page.getByRole("button", { name: "Start again" }).click();
    const small = file(test, 20 * MEGABYTE);
    await pair(sender, receiver, [small]);
    assert.deepEqual(await accept(receiver), { name: small.name, digest: small.digest });
    await bothDone(sender, receiver);
  });

  it("says what is wrong with a code", async (test) => {
    const { nodes } = await cluster(test);
    const chromium = await browser(test);
    const sender = await device(chromium, { name: "sender", url: nodes[0].http });
    const receiver = await device(chromium, { name: "receiver", url: nodes[1].http, look: PHONE });
    const enter = async (code) => {
      await receiver.page.getByLabel("Got a code?").fill(code);
      await receiver.page.keyboard.press("Enter");
    };
    await enter("K7QM-2X9D");
    await receiver.page.getByText("A code has 24 letters and digits; this one has 8.").waitFor();

    await enter("0".repeat(24));
    await receiver.page.getByRole("heading", { name: "No device is waiting under this code" }).waitFor();
    await receiver.picture("trouble");
    await receiver.page.getByRole("button", { name: "Start again" }).click();

    await sender.page.setInputFiles("#files", file(test, 10).path);
    await sender.page.getByText("Waiting for the other device").waitFor();
    const code = await sender.page.locator("#offer-code").textContent();
    const other = code.endsWith("0") ? "1" : "0";
    await enter(code.slice(0, -1) + other);
    await receiver.page.getByRole("heading", { name: "The code is not quite right" }).waitFor();
    await receiver.page.getByRole("button", { name: "Start again" }).click();

    await enter(code);
    await receiver.page.getByRole("button", { name: "No, thanks" }).click();
    await sender.page.getByRole("heading", { name: "The other person cancelled" }).waitFor();
    assert.deepEqual([...sender.unforeseen, ...receiver.unforeseen], []);
  });
});
