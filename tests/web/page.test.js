// The page as people meet it: what they are told of the connection and of the other device, and what is left behind.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { Crc32 } from "../../node/web/zip.js";
import { ARRIVES_WITHIN_MS, browser, device, forgetful, PHONE } from "./browser.js";
import { cluster } from "./cluster.js";
import { nginx } from "./nginx.js";
import { Proxy } from "./proxy.js";
import * as qr from "./qr.js";

/** The stored files of a small ZIP archive, by its directory. */
function unzip(bytes) {
  const crc32 = (part) => {
    const crc = new Crc32();
    crc.update(part);
    return crc.value;
  };
  const end = bytes.length - 22;
  let at = bytes.readUInt32LE(end + 16);
  const files = new Map();
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    const [size, name] = [bytes.readUInt32LE(at + 24), bytes.readUInt16LE(at + 28)];
    const local = bytes.readUInt32LE(at + 42);
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    files.set(bytes.toString("utf8", at + 46, at + 46 + name), bytes.subarray(from, from + size));
    assert.equal(bytes.readUInt32LE(at + 16), crc32(bytes.subarray(from, from + size)));
    at += 46 + name + bytes.readUInt16LE(at + 30);
  }
  return files;
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const upload = (name, buffer) => ({ name, mimeType: "application/octet-stream", buffer });
const link = (page, text) => page.locator("#link-text").getByText(text, { exact: true }).waitFor();

describe("the page", { concurrency: 1, timeout: 600_000 }, () => {
  const ends = [];
  const whole = { after: (end) => ends.push(end) };
  let [nodes, chromium] = [];
  before(async () => {
    ({ nodes } = await cluster(whole));
    chromium = await browser(whole);
  });
  after(async () => {
    for (const end of ends.reverse()) await end();
  });

  /** A device whose page is closed at the test's end. */
  async function open(test, options) {
    const made = await device(chromium, { url: nodes[0].http, name: "page", ...options });
    test.after(() => made.page.context().close());
    return made;
  }

  /** Offers files; the code. */
  async function offer({ page }, files) {
    await page.setInputFiles("#files", files);
    await page.getByText("Waiting for the other device").waitFor();
    return page.locator("#offer-code").textContent();
  }

  async function enter({ page }, code) {
    await page.getByLabel("Got a code?").fill(code);
    await page.keyboard.press("Enter");
  }

  it("saves many files at once, ticks them, asks before it leaves some, and keeps nothing", async (test) => {
    const sender = await open(test);
    const receiver = await open(test, { url: nodes[1].http, look: PHONE });
    const files = Array.from({ length: 25 }, (_, i) => upload(`${i ? i : "名字 ".repeat(12)}.bin`, randomBytes(i ? i * 40 : 700_000)));
    files.push(upload("nothing", Buffer.alloc(0)));
    await enter(receiver, await offer(sender, files));
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.getByRole("heading", { name: "Received" }).waitFor();

    await receiver.page.getByRole("button", { name: "Send or receive more" }).click();
    await receiver.page.getByText("26 files are not saved yet.").waitFor();
    await receiver.picture("unsaved");
    await receiver.page.getByRole("button", { name: "Stay" }).click();
    const [saved] = await Promise.all([
      receiver.page.waitForEvent("download", { timeout: ARRIVES_WITHIN_MS }),
      receiver.page.getByRole("button", { name: "Save all" }).click(),
    ]);
    await receiver.page.getByText("All saved.").waitFor();
    await receiver.picture("saved");
    assert.equal(await receiver.page.locator("#done-files .saved").count(), 26);
    assert.match(saved.suggestedFilename(), /^Conclave .*\.zip$/);
    const stored = unzip(readFileSync(await saved.path()));
    assert.deepEqual([...stored.keys()].sort(), files.map(({ name }) => name).sort());
    for (const { name, buffer } of files) assert.equal(sha256(stored.get(name)), sha256(buffer), name);

    const kept = () =>
      receiver.page.evaluate(async () => {
        const names = [];
        for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name);
        return names.length;
      });
    assert.equal(await kept(), 1);
    await receiver.page.getByRole("button", { name: "Send or receive more" }).click();
    await receiver.page.getByRole("heading", { name: "Send a file" }).waitFor();
    for (const end = Date.now() + 10_000; (await kept()) && Date.now() < end;) await receiver.page.waitForTimeout(100);
    assert.equal(await kept(), 0);
    assert.deepEqual([...sender.unforeseen, ...receiver.unforeseen], []);
  });

  it("removes what an earlier page received, at the next visit", async (test) => {
    const [sender, receiver] = [await open(test), await open(test, { url: nodes[1].http })];
    await enter(receiver, await offer(sender, [upload("secret", randomBytes(2_000_000))]));
    const saved = receiver.page.waitForEvent("download", { timeout: ARRIVES_WITHIN_MS });
    await receiver.page.locator("#accept-yes").click();
    await (await saved).path();
    const later = await receiver.page.context().newPage();
    await later.goto(nodes[1].http);
    const kept = () =>
      later.evaluate(async () => {
        const names = [];
        for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name);
        return names.length;
      });
    await link(later, "Connected");
    assert.equal(await kept(), 1, "another page's files are its own");
    await receiver.page.close();
    for (const end = Date.now() + 10_000; (await kept()) && Date.now() < end;) await later.waitForTimeout(100);
    assert.equal(await kept(), 0);
  });

  it("tells whose file can't be read any more, and offers it to nobody again", async (test) => {
    const folder = mkdtempSync(join(tmpdir(), "conclave-web-"));
    test.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "shrunk");
    writeFileSync(path, randomBytes(3_000_000));
    const [sender, receiver] = [await open(test), await open(test, { url: nodes[1].http })];
    await enter(receiver, await offer(sender, path));
    await receiver.page.locator("#accept-yes").waitFor();
    truncateSync(path, 1000);
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.getByRole("heading", { name: "The other device can't read a file any more" }).waitFor();
    await sender.page.getByRole("heading", { name: "A file can't be read any more" }).waitFor();
    for (const { page } of [sender, receiver]) assert.equal(await page.locator("#offer-again").isVisible(), false);
    await sender.page.getByRole("button", { name: "Start again" }).click();
    await sender.page.getByRole("heading", { name: "Send a file" }).waitFor();
  });

  it("says that another code was opened while it is busy, and asks before it leaves what is not saved", async (test) => {
    const [first, second, receiver] = [await open(test), await open(test), await open(test, { url: nodes[1].http })];
    const codes = [
      await offer(first, [upload("a", randomBytes(100)), upload("b", randomBytes(100))]),
      await offer(second, upload("c", randomBytes(100))),
    ];
    const visit = (code) => receiver.page.evaluate((code) => void (location.hash = code), code);
    const told = receiver.page.getByText("A link with another code was opened");
    await visit(codes[0]);
    await receiver.page.locator("#accept-yes").waitFor();
    await visit(codes[0]);
    await visit(codes[1]);
    await told.waitFor();
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
    assert.equal(await told.isVisible(), false);
    await visit(codes[1]);
    await receiver.page.getByText("2 files are not saved yet.").waitFor();
    await receiver.page.getByRole("button", { name: "Leave" }).click();
    await receiver.page.getByText("Receive this file?").waitFor();
    assert.deepEqual(receiver.unforeseen, []);
  });

  it("names the letter that no code has", async (test) => {
    const receiver = await open(test);
    await enter(receiver, "K7QM-2X9D-U");
    await receiver.page.getByText("No code has U in it.").waitFor();
    await enter(receiver, "K7QM-2X9D");
    await receiver.page.getByText("this one has 8").waitFor();
  });

  it("sends and receives where the browser keeps no site data", async (test) => {
    const [sender, context] = [await open(test), await forgetful(test)];
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(error.stack));
    await page.goto(nodes[1].http);
    await page.locator("#home").waitFor();
    await assert.rejects(page.evaluate(() => sessionStorage.length), /denied/);
    await enter({ page }, await offer(sender, upload("file", randomBytes(700_000))));
    const saved = page.waitForEvent("download", { timeout: ARRIVES_WITHIN_MS });
    await page.locator("#accept-yes").click();
    assert.equal((await saved).suggestedFilename(), "file");
    await page.getByRole("heading", { name: "Received" }).waitFor();
    assert.deepEqual(errors, []);
  });

  it("keeps the screen on while a code is shown and bytes move, and no longer", async (test) => {
    const [sender, receiver] = [await open(test, { webrtc: false }), await open(test, { webrtc: false })];
    for (const { page } of [sender, receiver]) {
      await page.evaluate(() => {
        window.held = 0;
        const lock = () => Object.assign(new EventTarget(), {
          async release() {
            held--;
            this.dispatchEvent(new Event("release"));
          },
        });
        Object.defineProperty(navigator, "wakeLock", { value: { request: async () => (held++, (window.last = lock())) } });
      });
    }
    const held = (page, count) => page.waitForFunction((count) => held === count, count);
    const code = await offer(sender, [upload("file", randomBytes(3_000_000))]);
    await held(sender.page, 1);
    // Hidden, a page loses its lock; seen again, it takes another one.
    await sender.page.evaluate(async () => {
      await last.release();
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await held(sender.page, 1);
    await enter(receiver, code);
    await receiver.page.locator("#accept-yes").click();
    await held(receiver.page, 1);
    await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
    await Promise.all([held(sender.page, 0), held(receiver.page, 0)]);
    const { headers } = await receiver.page.evaluate(async () => ({
      headers: Object.fromEntries((await fetch("./")).headers),
    }));
    assert.match(headers["permissions-policy"], /screen-wake-lock=\(self\)/);
  });

  it("tells two receivers of one code, and the sender, of each other", async (test) => {
    const sender = await open(test, { look: PHONE });
    const [first, second] = [await open(test, { look: PHONE }), await open(test, { url: nodes[1].http })];
    const code = await offer(sender, [upload("file", randomBytes(1000))]);
    await enter(first, code);
    await first.page.locator("#accept-yes").waitFor();
    await enter(second, code);
    await second.page.getByRole("heading", { name: "Another device has this code" }).waitFor();
    await second.picture("taken");
    await sender.page.getByText("A second device entered this code").waitFor();
    await sender.picture("second");
    await first.page.getByText("Another device entered this code, too").waitFor();
    await first.picture("accept-second");

    // What was typed is still there, and the code is free once the first one leaves.
    await second.page.getByRole("button", { name: "Start again" }).click();
    assert.equal(await second.page.getByLabel("Got a code?").inputValue(), code);
    await first.page.reload();
    await sender.page.getByText("The other device closed or reloaded its page.").waitFor();
    await sender.picture("left");
    await second.page.getByRole("button", { name: "Receive", exact: true }).click();
    await second.page.locator("#accept-yes").waitFor();

    // A sender that goes is told apart from one that is slow.
    await sender.page.close({ runBeforeUnload: false });
    await second.page.getByRole("heading", { name: "The other device closed its page" }).waitFor();
  });

  it("offers the same files again after an error, and hundreds with long names at once", async (test) => {
    const [sender, receiver] = [await open(test), await open(test, { url: nodes[1].http })];
    const files = Array.from({ length: 400 }, (_, i) => upload(`${"文件".repeat(38)} ${i}.txt`, Buffer.from(`${i}`)));
    await enter(receiver, await offer(sender, files));
    await receiver.page.getByRole("heading", { name: "Receive these 400 files?" }).waitFor();
    await receiver.page.getByRole("button", { name: "No, thanks" }).click();
    await sender.page.getByRole("heading", { name: "The other person cancelled" }).waitFor();
    await sender.page.getByRole("button", { name: "Offer the same files again" }).click();
    await sender.page.getByText("Waiting for the other device").waitFor();
    await enter(receiver, await sender.page.locator("#offer-code").textContent());
    await receiver.page.locator("#accept-yes").click();
    await receiver.page.getByText(/^400 files, .* checked, exactly as sent/).waitFor({ timeout: ARRIVES_WITHIN_MS });
    assert.deepEqual([...sender.unforeseen, ...receiver.unforeseen], []);
  });

  it("finishes over a slow line, with progress that moves", async (test) => {
    const line = await Proxy.before(test, nodes[0].http);
    const [sender, receiver] = [await open(test, { url: `${line.url}/?relay=1` }), await open(test)];
    await enter(receiver, await offer(sender, [upload("slow", randomBytes(120_000))]));
    await receiver.page.locator("#accept-yes").waitFor();
    line.rate = 8000;
    const saved = receiver.page.waitForEvent("download", { timeout: ARRIVES_WITHIN_MS });
    await receiver.page.locator("#accept-yes").click();
    const seen = new Set();
    for (;;) {
      if (await sender.page.locator("#done").isVisible()) break;
      seen.add(await sender.page.locator("#percent").textContent());
      await sender.page.waitForTimeout(300);
    }
    await (await saved).path();
    assert.ok(seen.size >= 3, [...seen].join());
  });

  for (const sockets of [true, false]) {
    it(`works under a path, links and all, ${sockets ? "with" : "without"} sockets`, async (test) => {
      const base = await nginx(test, nodes[0].http, { path: "/conclave/", sockets });
      const [sender, receiver] = [await open(test, { url: base }), await open(test, { url: base })];
      await sender.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      const sent = upload("file", randomBytes(100_000));
      const code = await offer(sender, [sent]);
      await sender.page.getByRole("button", { name: "Copy link" }).click();
      const copied = await sender.page.evaluate(() => navigator.clipboard.readText());
      assert.deepEqual([copied, await qr.shown(sender.page)], [`${base}#${code}`, `${base}#${code}`]);
      assert.equal(`http://${await sender.page.locator("#place").textContent()}/`, base);
      // By the link: this page is open already, so that only what follows the # changes.
      await receiver.page.goto(copied);
      const saved = receiver.page.waitForEvent("download");
      await receiver.page.locator("#accept-yes").click();
      assert.equal(sha256(readFileSync(await (await saved).path())), sha256(sent.buffer));
      await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
    });
  }

  it("says at once that an insecure address will not do", async (test) => {
    const context = await chromium.newContext();
    test.after(() => context.close());
    const page = await context.newPage();
    await page.addInitScript(() => Object.defineProperty(window, "isSecureContext", { value: false }));
    await page.goto(nodes[0].http);
    await page.getByRole("heading", { name: "This page needs a secure address" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Start again" }).isVisible(), false);
  });
});

it("the page says the truth about its connection", { timeout: 120_000 }, async (test) => {
  const { nodes } = await cluster(test);
  const chromium = await browser(test);
  const line = await Proxy.before(test, nodes[0].http);
  const { page, picture } = await device(chromium, { name: "page", url: line.url, look: PHONE });
  const alone = await device(chromium, { name: "alone", url: line.url });
  await alone.page.route(/api\/v1\/nodes/, async (route) => {
    // Answered only while the node is.
    const there = await route.fetch().catch(() => null);
    if (there) await route.fulfill({ json: { nodes: [] } });
    else await route.abort();
  });
  await alone.page.reload();
  await Promise.all([link(page, "Connected"), link(alone.page, "Connected")]);
  await alone.page.setInputFiles("#files", upload("file", randomBytes(10)));
  await alone.page.getByText("Waiting for the other device").waitFor();
  const code = await alone.page.locator("#offer-code").textContent();

  line.open = false;
  line.cut();
  let began = Date.now();
  const within = (ms) => assert.ok(Date.now() - began < ms, `${Date.now() - began} ms`);
  // One knows other nodes, and offers under the address of one that lives.
  await alone.page.getByText("The server can't be reached. Your files stay chosen").waitFor();
  within(5000);
  await alone.picture("offer-away");
  assert.equal(await alone.page.locator("#link-text").textContent(), "The server can't be reached");
  assert.equal(await alone.page.locator("#offer-code").isVisible(), false);
  assert.equal(await alone.page.locator("#qr svg").count(), 0);
  await link(page, "Connected");
  await page.setInputFiles("#files", upload("file", randomBytes(10)));
  await page.getByText("Waiting for the other device").waitFor();
  const place = await page.locator("#place").textContent();
  assert.ok(nodes.slice(1).some(({ http }) => http.endsWith(place)) || nodes[0].http.endsWith(place), place);
  assert.ok(!line.url.endsWith(place));
  await picture("offer-elsewhere");

  line.open = true;
  began = Date.now();
  await link(alone.page, "Connected");
  // The page promises two seconds.
  within(2500);
  await alone.page.getByText("Waiting for the other device").waitFor();
  assert.equal(await alone.page.locator("#offer-code").textContent(), code);

  for (const { pid } of nodes) process.kill(pid, "SIGKILL");
  began = Date.now();
  await link(page, "The server can't be reached");
  within(5000);
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.setInputFiles("#files", upload("file", randomBytes(10)));
  await page.getByRole("heading", { name: "The server can't be reached" }).waitFor();
  await picture("unreachable");
  assert.equal(await page.locator("#offer").isVisible(), false);
});
