// The pages at /docs, both listeners': axe-core finds nothing in any part, nothing is cut off, nothing is asked for in vain.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";

import { browser } from "./browser.js";
import { cluster } from "./cluster.js";

const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const LOOKS = [
  // The narrowest that people must be able to read without moving the page sideways (WCAG 1.4.10).
  { name: "narrow", width: 320, height: 640 },
  { name: "desk", width: 1200, height: 860 },
];

it("the references suit everybody, with every part opened", { timeout: 180_000 }, async (test) => {
  const { nodes } = await cluster(test);
  const chromium = await browser(test);
  const found = [];
  for (const [listener, url] of [["public", nodes[0].http], ["admin", nodes[0].admin]]) {
    const page = await chromium.newPage();
    page.on("pageerror", (error) => found.push(`${listener}: ${error}`));
    page.on("console", (line) => line.type() === "error" && found.push(`${listener}: ${line.text()}`));
    page.on("response", (answer) => answer.status() >= 400 && found.push(`${listener}: ${answer.status()} ${answer.url()}`));
    await page.goto(`${url}/docs`, { waitUntil: "networkidle" });
    assert.match(await page.locator("link[rel=icon]").getAttribute("href"), /^data:image/, "no other is asked for");
    await page.evaluate(AXE);
    for (const opened of [false, true]) {
      await page.evaluate((opened) => document.querySelectorAll("details").forEach((part) => (part.open = opened)), opened);
      for (const { name, ...size } of LOOKS) {
        await page.setViewportSize(size);
        const [violations, wide] = await page.evaluate(async (rules) => {
          const { violations } = await window.axe.run(document, { runOnly: rules });
          const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
          return [told, document.documentElement.scrollWidth - innerWidth];
        }, RULES);
        found.push(...violations.map((told) => `${listener}, ${name}: ${told}`));
        if (wide > 0) found.push(`${listener}, ${name}: ${wide} px too wide`);
      }
    }
  }
  assert.deepEqual(found, []);
});
