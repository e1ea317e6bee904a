// The console of the admin listener, in a browser: what it shows of a cluster that is well, and of one that is not.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";

import { growth, growths, parse, quantile, sum } from "../../node/console/metrics.js";
import { lags, troubles } from "../../node/console/troubles.js";
import { browser } from "./browser.js";
import { cluster } from "./cluster.js";

const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const LOOKS = [
  { name: "narrow", width: 320, height: 640 },
  { name: "desk", width: 1200, height: 860 },
];
const PICTURES = process.env.CONCLAVE_PICTURES;

const METRICS = `# HELP http requests
http_count{route="/a",status="2xx"} 7
http_count{route="/b \\"x\\"",status="5xx"} 3
http_bucket{le="0.1"} 50
http_bucket{le="0.2"} 90
http_bucket{le="+Inf"} 100
live 4.5
`;

it("metrics are read, and two readings compared", () => {
  const now = parse(METRICS);
  const before = parse("http_count{route=\"/a\",status=\"2xx\"} 2\nlive 9");
  assert.equal(sum(now, "http_count"), 10);
  assert.equal(sum(now, "absent"), 0);
  assert.deepEqual(now.get("http_count")[1].labels, { route: '/b \\"x\\"', status: "5xx" });
  assert.equal(growth(before, now, "http_count"), 8);
  assert.equal(growth(before, now, "live"), 4.5, "it began anew");
  assert.deepEqual(growths(before, now, "http_count", "status"), [["2xx", 5], ["5xx", 3]]);
  assert.equal(quantile(new Map(), now, "http", 0.5), 0.1);
  assert.ok(Math.abs(quantile(new Map(), now, "http", 0.7) - 0.15) < 1e-9);
  assert.equal(quantile(new Map(), now, "http", 0.99), 0.2, "beyond the last bound");
  assert.equal(quantile(now, now, "http", 0.5), null);
});

it("what is wrong is said in sentences, the worst first", () => {
  const node = (id, cell, applied, fault) => ({ id, cell, applied, last_log: applied, ...(fault && { fault }) });
  const status = {
    cells: [
      { cell: 1, leader: 1, majority: { voters: 3, reachable: 2, needed: 2 } },
      { cell: 2, leader: null, majority: { voters: 3, reachable: 1, needed: 2 } },
      { cell: 3, leader: null, majority: { voters: 3, reachable: 3, needed: 2 } },
    ],
    nodes: [node(1, 1, 100), node(2, 1, 90), node(3, 1, 0, "connection refused"), node(4, 2, 7)],
  };
  const found = troubles(status, ["applying"]).map(({ state, text }) => `${state} ${text}`);
  assert.deepEqual(found.map((text) => text.slice(0, 32)), [
    "bad Cell 2 has lost its majority",
    "bad Cell 3 has no leader. One is",
    "bad This node is not ready: appl",
    "warn Cell 1 goes on without 1 no",
    "warn Node 3: connection refused",
  ]);
  assert.match(found[3], /stops if one more fails/);
  assert.deepEqual([...lags(status)], [[1, 0], [2, 10], [3, 100], [4, 0]]);
});

/** What axe-core finds, in both colour schemes, narrow and wide. */
async function look(page, face) {
  const found = [];
  for (const { name, ...size } of LOOKS) {
    await page.setViewportSize(size);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const [violations, wide] = await page.evaluate(async (rules) => {
        const { violations } = await window.axe.run(document, { runOnly: rules });
        const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
        return [told, document.documentElement.scrollWidth - innerWidth];
      }, RULES);
      found.push(...violations.map((told) => `${face}, ${name}, ${colorScheme}: ${told}`));
      if (wide > 0) found.push(`${face}, ${name}: ${wide} px too wide`);
      if (PICTURES) await page.screenshot({ path: `${PICTURES}/console-${face}-${name}-${colorScheme}.png`, fullPage: true });
    }
  }
  return found;
}

it("the console shows a cluster that is well, and one that lost a node, then its majority", { timeout: 180_000 }, async (test) => {
  const { nodes, leading, others } = await cluster(test);
  const chromium = await browser(test);
  // axe-core is put into the page, which takes no script from elsewhere.
  const context = await chromium.newContext({ bypassCSP: false });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(`${error}`));
  page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
  await page.goto(leading.admin);
  await page.getByText("All is well").waitFor();
  await page.evaluate(AXE);
  for (const { id } of nodes) await page.locator("#nodes").getByRole("row").filter({ has: page.getByRole("cell", { name: `${id}`, exact: true }) }).first().waitFor();
  await page.locator("#cells").getByText(`node ${leading.id}`).waitFor();
  assert.match(await page.title(), /^All is well/);
  for (let turn = 0; turn < 30; turn++) await fetch(`${leading.http}/api/v1/edition`);
  await page.waitForFunction(() => /[1-9]/.test(document.querySelector("#figures output").textContent));
  const change = { method: "POST", body: JSON.stringify({ whose: { subject: "mallory" } }) };
  assert.equal((await fetch(`${others[0].admin}/admin/v1/revocations`, change)).status, 200);
  await page.locator("#changes").getByText("POST /admin/v1/revocations").waitFor();
  const found = await look(page, "well");

  process.kill(others[0].pid, "SIGKILL");
  await page.getByText("goes on without 1 node, and stops if one more fails").waitFor();
  await page.getByText(`Node ${others[0].id}:`).waitFor();
  found.push(...(await look(page, "one-away")));
  assert.deepEqual(faults, []);

  process.kill(others[1].pid, "SIGKILL");
  await page.getByText("has lost its majority: 1 of 3 voters answer").waitFor();
  assert.match(await page.title(), /^Something is wrong/);
  found.push(...(await look(page, "no-majority")));

  process.kill(leading.pid, "SIGKILL");
  await page.getByText("This node has not answered since").waitFor();
  found.push(...(await look(page, "silent")));
  assert.deepEqual(found, []);
});

it("a console whose node asks for a token is unlocked with it", { timeout: 60_000 }, async (test) => {
  const home = mkdtempSync(join(tmpdir(), "conclave-console-"));
  test.after(() => rmSync(home, { recursive: true }));
  const file = join(home, "token");
  const token = "a".repeat(40);
  writeFileSync(file, token);
  const { leading } = await cluster(test, "--nodes", "1", "--set", "admin.require_token=true", "--set", `admin.token_file=${file}`);
  const chromium = await browser(test);
  const page = await chromium.newPage();
  await page.goto(leading.admin);
  const field = page.getByLabel("This node asks for its admin token");
  await field.waitFor();
  await page.evaluate(AXE);
  const found = await look(page, "locked");
  await field.fill("wrong");
  await page.getByRole("button", { name: "Unlock" }).click();
  await page.getByText("This is not the token of this node").waitFor();
  await field.fill(token);
  await field.press("Enter");
  await page.getByText("All is well").waitFor();
  assert.equal(await field.isVisible(), false);
  await page.reload();
  await page.getByText("All is well").waitFor();
  assert.deepEqual(found, []);
});

it("a device that waits is let in with a click", { timeout: 60_000 }, async (test) => {
  const edition = ["--set", "edition.name=enterprise", "--set", "edition.acknowledged=true"];
  const { leading } = await cluster(test, "--nodes", "1", ...edition);
  const body = JSON.stringify({ userId: "alice", deviceId: "phone", publicKey: "MCowBQYDK2VwAyEA" });
  const register = () => fetch(`${leading.http}/api/v1/devices`, { method: "POST", body, headers: { "content-type": "application/json" } }).then((answer) => answer.json());
  assert.equal((await register()).approval, "pending");
  const chromium = await browser(test);
  const page = await chromium.newPage();
  await page.goto(leading.admin);
  await page.getByText("alice/phone").waitFor();
  await page.evaluate(AXE);
  const found = await look(page, "device");
  const asked = page.waitForRequest(/devices\/approve/);
  await page.getByRole("button", { name: "Let in" }).click();
  assert.equal((await asked).postDataJSON().publicKey, "MCowBQYDK2VwAyEA", "it is let in with the key that is shown");
  await page.locator("#devices").waitFor({ state: "hidden" });
  assert.equal((await register()).approval, "approved");
  await page.locator("#changes").getByText("POST /admin/v1/devices/approve").waitFor();
  assert.deepEqual(found, []);
});

it("it is for no page from elsewhere", { timeout: 60_000 }, async (test) => {
  const { leading } = await cluster(test, "--nodes", "1");
  const page = await fetch(leading.admin);
  const policy = page.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /frame-ancestors 'none'/);
  const status = `${leading.admin}/cluster/status`;
  const asked = async (origin, method = "GET") => (await fetch(status, { method, headers: { origin } })).status;
  assert.equal(await asked("https://evil.example"), 403);
  assert.equal(await asked("null"), 403);
  assert.equal(await asked(new URL(leading.admin).origin), 200);
  assert.equal(await asked(new URL(leading.admin).origin, "POST"), 403, "the console changes nothing but devices");
});
