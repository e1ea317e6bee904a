// The page in Firefox: offered, received and saved, on both ways, and its faces.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { cluster } from "./cluster.js";
import { firefox } from "./firefox.js";

describe("the page in Firefox", { concurrency: 1, timeout: 300_000 }, () => {
  const ends = [];
  const whole = { after: (end) => ends.push(end) };
  const folder = mkdtempSync(join(tmpdir(), "conclave-web-"));
  let [nodes, browser] = [];
  before(async () => {
    ({ nodes } = await cluster(whole));
    browser = await firefox(whole);
  });
  after(async () => {
    for (const end of ends.reverse()) await end();
    rmSync(folder, { recursive: true });
  });

  function file(name, size) {
    const bytes = randomBytes(size);
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return { name, path, bytes };
  }

  async function pair(sender, receiver, files) {
    await sender.choose("#files", files.map(({ path }) => path));
    await sender.reads("Waiting for the other device");
    const code = await sender.evaluate('document.querySelector("#offer-code").textContent');
    await receiver.enter("#code", code);
    await receiver.click("#accept-yes");
  }

  for (const [way, query, words] of [
    ["straight from device to device", "", "Straight from device to device"],
    ["through the relay", "/?relay=1", "Through the relay"],
  ]) {
    it(`offers, receives and saves a file ${way}`, async () => {
      const sender = await browser.device(nodes[0].http + query);
      const receiver = await browser.device(nodes[1].http + query);
      // A fast transfer is over before anybody looks, so what was shown is kept.
      await receiver.evaluate(`void (window.ways = [], new MutationObserver(() => ways.push(document.querySelector("#way").textContent))
        .observe(document.querySelector("#way"), { childList: true, characterData: true, subtree: true }))`);
      const sent = file(`${way.replaceAll(" ", "-")}.bin`, 3_000_000);
      await pair(sender, receiver, [sent]);
      await receiver.reads("checked, exactly as sent");
      await sender.reads("arrived and checked on the other device");
      assert.ok(sent.bytes.equals(await browser.saved(sent.name)));
      assert.ok((await receiver.evaluate("ways")).some((text) => text.startsWith(words)));
      await receiver.picture(`received-${query ? "relay" : "direct"}`);
      assert.deepEqual(receiver.unforeseen, []);
    });
  }

  it("says that a file became shorter while it was offered, and does not wait for its bytes for ever", async () => {
    const [sender, receiver] = [await browser.device(nodes[0].http), await browser.device(nodes[1].http)];
    const shrinks = file("shrinks.bin", 3_000_000);
    await sender.choose("#files", [shrinks.path]);
    await sender.reads("Waiting for the other device");
    const code = await sender.evaluate('document.querySelector("#offer-code").textContent');
    truncateSync(shrinks.path, 1000);
    await receiver.enter("#code", code);
    await receiver.click("#accept-yes");
    await sender.reads("A file can't be read any more");
    await receiver.reads("The other device can't read a file any more");
  });

  it("saves several files in one archive, and keeps nothing of them", async () => {
    const phone = { width: 375, height: 740 };
    const [sender, receiver] = [await browser.device(nodes[0].http, phone), await browser.device(nodes[1].http, phone)];
    const files = [file("empty", 0), file("a.bin", 400_000), file("b.bin", 1000)];
    await sender.picture("home");
    await pair(sender, receiver, files);
    await receiver.reads("3 files, 401\u00a0kB: checked, exactly as sent.");
    await receiver.picture("received-phone");
    assert.equal(await receiver.evaluate("document.documentElement.scrollWidth <= innerWidth"), true);
    await receiver.click("#save-all");
    await receiver.reads("All saved.");
    const kept = `(async () => {
      let count = 0;
      for await (const name of (await navigator.storage.getDirectory()).keys()) count += name.startsWith("conclave-");
      return count;
    })()`;
    await receiver.click('#done [data-do="again"]');
    await receiver.until(`await ${kept} === 0`);
    assert.deepEqual(receiver.unforeseen, []);
  });

  it("lets two offers meet after an answer that could not be taken", async () => {
    const page = await browser.device(nodes[0].http);
    const state = await page.evaluate(`(async () => {
      const { negotiate } = await import("/negotiate.js");
      const sides = {};
      // As it comes over a network: a copy, later, one after the other.
      const to = (side) => {
        let last = Promise.resolve();
        return (type, payload) => {
          const copy = JSON.stringify(payload);
          last = last.then(() => sides[side].receive(type, JSON.parse(copy))).catch(() => {});
        };
      };
      sides.polite = negotiate(to("impolite"), { polite: true });
      sides.impolite = negotiate(to("polite"), { polite: false });
      await sides.impolite.receive("answer", { type: "answer", sdp: "v=0\\r\\n" }).catch(() => {});
      const opened = Object.values(sides).map(({ pc }) => {
        const channel = pc.createDataChannel("any");
        return new Promise((resolve) => (channel.onopen = resolve));
      });
      await Promise.race([Promise.all(opened), new Promise((resolve) => setTimeout(resolve, 20000))]);
      const states = Object.values(sides).map(({ pc }) => pc.connectionState);
      for (const side of Object.values(sides)) side.close();
      return states;
    })()`);
    assert.deepEqual(state, ["connected", "connected"]);
  });
});
