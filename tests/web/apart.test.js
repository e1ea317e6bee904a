// The other device is gone, cancelled, asleep or reloaded: each side is told which, within ten seconds where it can be known.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";

import { browser, device } from "./browser.js";
import { cluster } from "./cluster.js";
import { Proxy } from "./proxy.js";

/** What the page promises, and what a loaded machine may add. */
const TOLD_WITHIN_MS = 10_000;

const upload = (name, size) => ({ name, mimeType: "application/octet-stream", buffer: randomBytes(size) });

describe("a device is told what became of the other one", { concurrency: 1, timeout: 600_000 }, () => {
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

  /** Two devices, the second behind a line; the files are offered and asked for, or moving. */
  async function pair(test, { moving = false, sockets = true } = {}) {
    const line = await Proxy.before(test, nodes[1].http);
    const open = async (name, url) => {
      const made = await device(chromium, { name, url: `${url}/?relay=1`, webrtc: false });
      test.after(() => made.page.context().close());
      if (!sockets) await made.page.addInitScript(() => void delete window.WebSocket);
      return made;
    };
    // The sender's line is slow while bytes move, so that they do for a while.
    const slow = await Proxy.before(test, nodes[0].http);
    const [sender, receiver] = [await open("sender", slow.url), await open("receiver", line.url)];
    // Nobody may find another way than these two lines.
    for (const { page } of [sender, receiver]) {
      await page.route(/api\/v1\/nodes/, async (route) => {
        const there = await route.fetch().catch(() => null);
        await (there ? route.fulfill({ json: { nodes: [] } }) : route.abort());
      });
      await page.reload();
    }
    await sender.page.setInputFiles("#files", upload("file", moving ? 3_000_000 : 1000));
    await sender.page.getByText("Waiting for the other device").waitFor();
    const code = await sender.page.locator("#offer-code").textContent();
    await receiver.page.getByLabel("Got a code?").fill(code);
    await receiver.page.keyboard.press("Enter");
    await receiver.page.locator("#accept-yes").waitFor();
    await sender.page.getByText("Waiting for the other person").waitFor();
    if (moving) {
      slow.rate = 100_000;
      await receiver.page.locator("#accept-yes").click();
      await receiver.page.waitForFunction(() => document.querySelector("#bar").value > 0.02);
    }
    return { sender, receiver, line, slow, code };
  }

  /** What is to be read on a page within the time. */
  async function told({ page }, text, began) {
    await page.getByText(text).first().waitFor({ timeout: 2 * TOLD_WITHIN_MS }).catch(async (error) => {
      throw new Error(`not told "${text}", but: ${await page.locator("body").innerText()}`, { cause: error });
    });
    const took = Date.now() - began;
    assert.ok(took < TOLD_WITHIN_MS, `"${text}" after ${took} ms`);
  }

  for (const moving of [false, true]) {
    const when = moving ? "while bytes move" : "before it is accepted";

    it(`cancelled by the sender ${when}`, async (test) => {
      const { sender, receiver } = await pair(test, { moving });
      const began = Date.now();
      await sender.page.locator('#moving [data-do="cancel"]').click();
      await told(receiver, "The other person cancelled", began);
    });

    it(`cancelled by the receiver ${when}`, async (test) => {
      const { sender, receiver } = await pair(test, { moving });
      const began = Date.now();
      await receiver.page.locator(`${moving ? "#moving" : "#accept"} [data-do="cancel"]`).click();
      await told(sender, "The other person cancelled", began);
    });

    it(`the sender's page is reloaded ${when}`, async (test) => {
      const { sender, receiver } = await pair(test, { moving });
      const began = Date.now();
      await sender.page.reload();
      await told(receiver, "The other device closed its page", began);
    });

    it(`the receiver's page is reloaded ${when}, and may enter the code again`, async (test) => {
      const { sender, receiver, code } = await pair(test, { moving });
      const began = Date.now();
      await receiver.page.reload();
      await told(sender, "The other device closed or reloaded its page. The code still works.", began);
      await receiver.page.getByLabel("Got a code?").fill(code);
      await receiver.page.keyboard.press("Enter");
      await receiver.page.locator("#accept-yes").waitFor();
    });

    it(`one page sleeps ${when}, and goes on`, async (test) => {
      const { sender, receiver, slow } = await pair(test, { moving });
      const sleeps = moving ? sender : receiver;
      const wakes = moving ? receiver : sender;
      // As the system does it with a page in the background: nothing in it runs, and its connections stay.
      const debug = await sleeps.page.context().newCDPSession(sleeps.page);
      await debug.send("Debugger.enable");
      const paused = new Promise((resolve) => debug.once("Debugger.paused", resolve));
      await debug.send("Debugger.pause");
      await paused;
      const began = Date.now();
      await told(wakes, "The other device does not answer. It may be asleep or offline", began);
      await wakes.picture(`asleep-${moving}`);
      await debug.send("Debugger.resume");
      await debug.send("Debugger.disable");
      slow.rate = 0;
      if (!moving) await receiver.page.locator("#accept-yes").click();
      await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
      await sender.page.getByRole("heading", { name: "Sent" }).waitFor();
    });

    it(`one device loses its network ${when}, and both say what they know`, async (test) => {
      const { sender, receiver, line, slow } = await pair(test, { moving });
      line.open = false;
      line.cut();
      const began = Date.now();
      await Promise.all([
        told(receiver, "The server can't be reached", began),
        told(sender, "The other device does not answer. It may be asleep or offline", began),
      ]);
      line.open = true;
      slow.rate = 0;
      if (!moving) await receiver.page.locator("#accept-yes").click();
      await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
      await sender.page.getByRole("heading", { name: "Sent" }).waitFor();
    });

    it(`the sender's page dies ${when} without a word`, async (test) => {
      const { sender, receiver, slow } = await pair(test, { moving });
      const debug = await sender.page.context().newCDPSession(sender.page);
      debug.send("Page.crash").catch(() => {});
      // What is under way ends, too.
      slow.open = false;
      slow.cut();
      const began = Date.now();
      await told(receiver, /The other device (closed its page|does not answer)/, began);
    });

    it(`a page that has no sockets is reloaded ${when}`, async (test) => {
      const { sender, receiver } = await pair(test, { moving, sockets: false });
      const [closes, stays] = moving ? [receiver, sender] : [sender, receiver];
      const began = Date.now();
      await closes.page.reload();
      await told(stays, moving ? "The other device closed or reloaded its page." : "The other device closed its page", began);
    });
  }

  it("a code that ended, one that never was, and one whose page sleeps are told apart", async (test) => {
    const { sender, receiver, code } = await pair(test);
    await receiver.page.locator('#accept [data-do="cancel"]').click();
    await sender.page.getByRole("heading", { name: "The other person cancelled" }).waitFor();
    const enter = async () => {
      await receiver.page.getByLabel("Got a code?").fill(code);
      await receiver.page.keyboard.press("Enter");
      return Date.now();
    };
    await told(receiver, "No device is waiting under this code", await enter());
    // What was typed is still there.
    await receiver.page.getByRole("button", { name: "Start again" }).click();
    assert.equal(await receiver.page.getByLabel("Got a code?").inputValue(), code);

    await sender.page.getByRole("button", { name: "Offer the same files again" }).click();
    await sender.page.getByText("Waiting for the other device").waitFor();
    const fresh = await sender.page.locator("#offer-code").textContent();
    const debug = await sender.page.context().newCDPSession(sender.page);
    await debug.send("Debugger.enable");
    await debug.send("Debugger.pause");
    await receiver.page.getByLabel("Got a code?").fill(fresh);
    const began = Date.now();
    await receiver.page.keyboard.press("Enter");
    await told(receiver, "The other device does not answer", began);
    await debug.send("Debugger.resume");
  });
});
