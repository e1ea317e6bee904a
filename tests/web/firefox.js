// Firefox without a screen, driven by WebDriver BiDi, which it speaks itself: no driver has to be installed beside it.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import WebSocket from "ws";

const FIREFOX = process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr";
const UP_WITHIN_MS = 60_000;
const SHOWN_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 100;
const PICTURES = process.env.CONCLAVE_PICTURES;

/** What Firefox is told for tests: to save without asking, and to ask nobody outside. */
const settings = (downloads) => ({
  "app.update.disabledForTesting": true,
  "browser.aboutConfig.showWarning": false,
  "browser.download.always_ask_before_handling_new_types": false,
  "browser.download.dir": downloads,
  "browser.download.folderList": 2,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.page": 0,
  "datareporting.policy.dataSubmissionEnabled": false,
  "dom.disable_beforeunload": true,
  "extensions.systemAddon.update.enabled": false,
  // Names of local addresses are resolved by multicast, which not every test machine has.
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
  "toolkit.telemetry.enabled": false,
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A Firefox for one test, which the test's end ends. */
export async function firefox(test) {
  if (!existsSync(FIREFOX))
    throw new Error(`there is no ${FIREFOX}: install firefox-esr, or name one in FIREFOX_BIN`);
  const folder = mkdtempSync(join(tmpdir(), "conclave-firefox-"));
  const [profile, downloads] = [join(folder, "profile"), join(folder, "downloads")];
  for (const made of [profile, downloads]) mkdirSync(made);
  const lines = Object.entries(settings(downloads)).map(
    ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
  );
  writeFileSync(join(profile, "user.js"), lines.join(""));
  const process = spawn(
    FIREFOX,
    ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"],
    { stdio: ["ignore", "ignore", "pipe"], env: { ...globalThis.process.env, HOME: folder, MOZ_CRASHREPORTER_DISABLE: "1" } },
  );
  const ended = new Promise((resolve) => process.once("exit", resolve));
  test.after(async () => {
    process.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  const address = await Promise.race([
    new Promise((resolve) => {
      createInterface({ input: process.stderr }).on("line", (line) => {
        const [, found] = line.match(/WebDriver BiDi listening on (ws:\S+)/) ?? [];
        if (found) resolve(found);
      });
    }),
    ended.then((code) => Promise.reject(new Error(`Firefox ended with ${code}`))),
    pause(UP_WITHIN_MS).then(() => Promise.reject(new Error("no Firefox in time"))),
  ]);
  const session = await Session.at(`${address}/session`);
  return {
    /** A page, of a size if one is given, in a window and a container of its own: another device, as far as the page can tell. */
    device: async (url, viewport) => {
      const { userContext } = await session.ask("browser.createUserContext", {});
      const { context } = await session.ask("browsingContext.create", { type: "window", userContext });
      if (viewport) await session.ask("browsingContext.setViewport", { context, viewport });
      const page = new Page(session, context);
      await page.go(url);
      return page;
    },
    /** The bytes of a file once it is saved; it is looked for by its name. */
    saved: async (name) => {
      const there = () => {
        const names = readdirSync(downloads);
        return names.includes(name) && !names.some((other) => other.endsWith(".part"));
      };
      for (const end = Date.now() + SHOWN_WITHIN_MS; !there(); ) {
        if (Date.now() > end) throw new Error(`${name} was not saved: ${readdirSync(downloads)}`);
        await pause(LOOK_EVERY_MS);
      }
      return readFileSync(join(downloads, name));
    },
  };
}

/** Commands and their answers. */
class Session {
  #socket;
  #next = 1;
  #asked = new Map();
  /** What pages complained of. */
  unforeseen = [];

  static async at(url) {
    const session = new Session();
    session.#socket = new WebSocket(url);
    session.#socket.on("message", (data) => session.#hear(JSON.parse(data)));
    session.#socket.on("close", () => {
      for (const { reject } of session.#asked.values()) reject(new Error("Firefox is gone"));
    });
    await new Promise((resolve, reject) => session.#socket.once("open", resolve).once("error", reject));
    await session.ask("session.new", { capabilities: {} });
    await session.ask("session.subscribe", { events: ["log.entryAdded"] });
    return session;
  }

  // A request that the page itself cancels is an error in Firefox's log, though nobody is troubled by it.
  #hear({ id, type, result, error, message, method, params }) {
    if (method === "log.entryAdded" && params.level === "error" && !/Error: cancelled/.test(params.text)) this.unforeseen.push(params.text);
    const asked = this.#asked.get(id);
    if (!asked) return;
    this.#asked.delete(id);
    if (type === "success") asked.resolve(result);
    else asked.reject(new Error(`${error}: ${message}`));
  }

  ask(method, params) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}

const ENTER = "\uE007";

/** One page, and what a person does on it. */
class Page {
  #session;
  #context;

  constructor(session, context) {
    [this.#session, this.#context] = [session, context];
  }

  /** What pages of this Firefox complained of. */
  get unforeseen() {
    return this.#session.unforeseen;
  }

  async go(url) {
    await this.#session.ask("browsingContext.navigate", { context: this.#context, url, wait: "complete" });
  }

  /** The value of an expression in the page, as JSON. */
  async evaluate(expression) {
    const { type, result, exceptionDetails } = await this.#session.ask("script.evaluate", {
      expression: `(async () => JSON.stringify(await (${expression})))()`,
      target: { context: this.#context },
      awaitPromise: true,
    });
    if (type !== "success") throw new Error(exceptionDetails.text);
    return result.value === undefined ? undefined : JSON.parse(result.value);
  }

  /** Waits until an expression is true. */
  async until(expression) {
    for (const end = Date.now() + SHOWN_WITHIN_MS; !(await this.evaluate(`Boolean(${expression})`)); ) {
      if (Date.now() > end) throw new Error(`not within ${SHOWN_WITHIN_MS} ms: ${expression}\n${await this.text()}`);
      await pause(LOOK_EVERY_MS);
    }
  }

  /** What is to be read. */
  text() {
    return this.evaluate("document.body.innerText");
  }

  /** Waits until a text is to be read. */
  reads(text) {
    return this.until(`document.body.innerText.includes(${JSON.stringify(text)})`);
  }

  async #element(selector) {
    const { nodes } = await this.#session.ask("browsingContext.locateNodes", {
      context: this.#context,
      locator: { type: "css", value: selector },
    });
    if (!nodes.length) throw new Error(`there is no ${selector}`);
    return { sharedId: nodes[0].sharedId };
  }

  #act(actions) {
    return this.#session.ask("input.performActions", { context: this.#context, actions });
  }

  async choose(selector, files) {
    const element = await this.#element(selector);
    await this.#session.ask("input.setFiles", { context: this.#context, element, files });
  }

  async click(selector) {
    const shown = JSON.stringify(selector);
    await this.until(`document.querySelector(${shown})?.checkVisibility()`);
    await this.evaluate(`document.querySelector(${shown}).scrollIntoView({ block: "center" })`);
    const origin = { type: "element", element: await this.#element(selector) };
    await this.#act([
      {
        type: "pointer",
        id: "mouse",
        actions: [
          { type: "pointerMove", x: 0, y: 0, origin },
          { type: "pointerDown", button: 0 },
          { type: "pointerUp", button: 0 },
        ],
      },
    ]);
  }

  /** Types into a field, and Enter. */
  async enter(selector, text) {
    await this.click(selector);
    const keys = [...text, ENTER].flatMap((value) => [
      { type: "keyDown", value },
      { type: "keyUp", value },
    ]);
    await this.#act([{ type: "key", id: "keyboard", actions: keys }]);
  }

  async picture(state) {
    if (!PICTURES) return;
    const { data } = await this.#session.ask("browsingContext.captureScreenshot", { context: this.#context });
    mkdirSync(PICTURES, { recursive: true });
    writeFileSync(join(PICTURES, `firefox-${state}.png`), Buffer.from(data, "base64"));
  }
}
