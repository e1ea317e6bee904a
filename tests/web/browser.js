// Chromium without a screen, and pages that fail the test when anything unforeseen happens in them.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
/** A page shows what it is waited for within this, and a transfer is over: generous on two cores. */
const SHOWN_WITHIN_MS = 30_000;
export const ARRIVES_WITHIN_MS = 90_000;
/** Where pictures of every state go, if anywhere. */
const PICTURES = process.env.CONCLAVE_PICTURES;

export const WIDE = { viewport: { width: 1200, height: 860 }, colorScheme: "light" };
export const PHONE = {
  viewport: { width: 375, height: 740 },
  deviceScaleFactor: 2,
  colorScheme: "dark",
  isMobile: true,
  hasTouch: true,
};

function launching() {
  if (!existsSync(CHROMIUM))
    throw new Error(`there is no ${CHROMIUM}: install Chromium, or name one in CHROMIUM_BIN`);
  const args = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Names of local addresses are resolved by multicast, which not every test machine has.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
  ];
  return { executablePath: CHROMIUM, args };
}

/** A browser for one test. */
export async function browser(test, options = {}) {
  const started = await chromium.launch({ ...options, ...launching() });
  test.after(() => started.close());
  return started;
}

/** A browser of one profile that keeps no site data for anybody, by its own setting. */
export async function forgetful(test) {
  const folder = mkdtempSync(join(tmpdir(), "conclave-profile-"));
  mkdirSync(join(folder, "Default"));
  const profile = { default_content_setting_values: { cookies: 2 } };
  writeFileSync(join(folder, "Default", "Preferences"), JSON.stringify({ profile }));
  const started = await chromium.launchPersistentContext(folder, { ...launching(), acceptDownloads: true });
  test.after(async () => {
    await started.close();
    rmSync(folder, { recursive: true });
  });
  return started;
}

/** One device: a page of its own profile. `begins` is what it shows first; `unforeseen` collects errors that the test did not provoke. */
export async function device(browser, { name, url, look = WIDE, webrtc = true, begins = "#home" }) {
  const context = await browser.newContext({ ...look, acceptDownloads: true });
  const page = await context.newPage();
  page.setDefaultTimeout(SHOWN_WITHIN_MS);
  const unforeseen = [];
  page.on("pageerror", (error) => unforeseen.push(`${name}: ${error.stack}`));
  page.on("console", (message) => {
    // A node that is killed leaves failed requests behind; everything else, breaches of the policy above all, is news.
    const lost =
      /ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE|ERR_SOCKET|WebSocket connection|status of 404|status of 503/;
    if (message.type() === "error" && !lost.test(message.text()))
      unforeseen.push(`${name}: ${message.text()}`);
  });
  await context.addInitScript((webrtc) => {
    window.channelsOpened = 0;
    if (!webrtc) return void delete window.RTCPeerConnection;
    const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (...args) {
      const channel = create.apply(this, args);
      channel.addEventListener("open", () => window.channelsOpened++);
      return channel;
    };
  }, webrtc);
  await page.goto(url);
  await page.locator(begins).waitFor();
  const picture = async (state) => {
    if (!PICTURES) return;
    mkdirSync(PICTURES, { recursive: true });
    await page.screenshot({ path: `${PICTURES}/${look === PHONE ? "phone" : "wide"}-${state}.png` });
  };
  return { page, unforeseen, picture };
}
