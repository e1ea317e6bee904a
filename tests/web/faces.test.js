// Every face of the page, in both colour schemes, on a phone and on a desk: axe-core finds nothing, and nothing is cut off.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { it } from "node:test";

import { browser, device } from "./browser.js";
import { cluster } from "./cluster.js";
import { Proxy } from "./proxy.js";

const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const LOOKS = [
  { name: "phone", width: 375, height: 740 },
  // The narrowest that people must be able to read without moving the page sideways (WCAG 1.4.10).
  { name: "narrow", width: 320, height: 640 },
  { name: "desk", width: 1200, height: 860 },
];
const SCHEMES = ["light", "dark"];

const upload = (name, size) => ({ name, mimeType: "application/octet-stream", buffer: randomBytes(size) });
const LONG = `${"The very long name of a photo from the garden ".repeat(4)}.jpeg`;

/** What is wrong with the face that a page shows now. */
async function look({ page, picture }, face) {
  const found = [];
  for (const { name, ...size } of LOOKS) {
    await page.setViewportSize(size);
    for (const colorScheme of SCHEMES) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const [violations, wide] = await page.evaluate(
        async ({ rules }) => {
          // Whoever speaks to the page says what is written there (WCAG 2.5.3).
          const named = { "label-content-name-mismatch": { enabled: true } };
          const { violations } = await window.axe.run(document, { runOnly: rules, rules: named });
          const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
          return [told, document.documentElement.scrollWidth - innerWidth];
        },
        { rules: RULES },
      );
      found.push(...violations.map((told) => `${face}, ${name}, ${colorScheme}: ${told}`));
      if (wide > 0) found.push(`${face}, ${name}: ${wide} px too wide`);
      await picture(`${face}-${name}-${colorScheme}`);
    }
  }
  return found;
}

it("every face of the page suits everybody", { timeout: 600_000 }, async (test) => {
  const { nodes } = await cluster(test);
  const chromium = await browser(test);
  const line = await Proxy.before(test, nodes[0].http);
  const open = async (name, url) => {
    const made = await device(chromium, { name, url: `${url}/?relay=1` });
    // Nobody finds another way than the line.
    await made.page.route(/api\/v1\/nodes/, async (route) => {
      const there = await route.fetch().catch(() => null);
      await (there ? route.fulfill({ json: { nodes: [] } }) : route.abort());
    });
    await made.page.reload();
    await made.page.evaluate(AXE);
    return made;
  };
  const [sender, receiver] = [await open("sender", line.url), await open("receiver", nodes[1].http)];
  const found = [];
  const see = async (who, face) => found.push(...(await look(who, face)));
  const force = (who, run) => who.page.evaluate(run);

  await see(receiver, "home");
  await receiver.page.getByLabel("Got a code?").fill("K7QM-2X9D");
  await receiver.page.keyboard.press("Enter");
  await receiver.page.getByText("this one has 8").waitFor();
  await see(receiver, "home-hint");
  await force(receiver, async () => (await import("/view.js")).show("signin"));
  await see(receiver, "signin");
  await force(receiver, async () => (await import("/view.js")).wait("Looking for the other device", "This takes a moment."));
  await see(receiver, "finding");
  await receiver.page.locator('#finding [data-do="cancel"]').click();

  await sender.page.setInputFiles("#files", [upload(LONG, 2_000_000), upload("notes.txt", 900), upload("нотатки.txt", 0)]);
  await sender.page.getByText("Waiting for the other device").waitFor();
  const code = await sender.page.locator("#offer-code").textContent();
  await see(sender, "offer");
  line.open = false;
  line.cut();
  await sender.page.getByText("The server can't be reached. Your files stay chosen").waitFor();
  await see(sender, "offer-away");
  line.open = true;
  await sender.page.getByText("Waiting for the other device").waitFor();

  await receiver.page.getByLabel("Got a code?").fill(code);
  await receiver.page.keyboard.press("Enter");
  await receiver.page.locator("#accept-yes").waitFor();
  await sender.page.getByText("Waiting for the other person").waitFor();
  await see(sender, "paired");
  await see(receiver, "accept");
  await force(receiver, async () => (await import("/view.js")).notice("Another device entered this code, too, and was turned away. If that was neither of you, tell the sender."));
  await see(receiver, "accept-notice");
  line.rate = 60_000;
  await receiver.page.locator("#accept-yes").click();
  await receiver.page.waitForFunction(() => document.querySelector("#bar").value > 0.05);
  await see(sender, "sending");
  await see(receiver, "receiving");
  await force(sender, async () => {
    const { way } = await import("/meter.js");
    way("The other device does not answer. It may be asleep or offline; this goes on by itself once it is back.", true);
  });
  await sender.picture("sending-asleep");
  line.rate = 0;
  await receiver.page.getByRole("heading", { name: "Received" }).waitFor();
  await sender.page.getByRole("heading", { name: "Sent" }).waitFor();
  await see(sender, "sent");
  await receiver.page.locator("summary").first().click();
  await receiver.page.getByRole("button", { name: "Save notes.txt" }).click();
  await see(receiver, "received");
  await receiver.page.getByRole("button", { name: "Send or receive more" }).click();
  await receiver.page.getByText("2 files are not saved yet.").waitFor();
  await see(receiver, "unsaved");
  await receiver.page.getByRole("button", { name: "Leave" }).click();
  await receiver.page.getByRole("heading", { name: "Send a file" }).waitFor();

  await receiver.page.getByLabel("Got a code?").fill("0".repeat(24));
  await receiver.page.keyboard.press("Enter");
  await receiver.page.getByRole("heading", { name: "No device is waiting" }).waitFor();
  await see(receiver, "trouble");
  await force(receiver, () => void (document.querySelector("#offer-again").hidden = false));
  await see(receiver, "trouble-again");
  assert.deepEqual(found, []);
});
