// The client over WebSockets: two pages, each its own process in the browser, at two nodes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { browser, device } from "./browser.js";
import { cluster } from "./cluster.js";

/** Two clients, `a` and `b`, that know all nodes; `a` begins at `first`, `b` at `second`. */
async function clients(test, nodes, first, second) {
  const chromium = await browser(test);
  const open = async (name, at) => {
    const { page } = await device(chromium, { name, url: at.http });
    await page.evaluate(
      async ({ urls }) => {
        const { connect } = await import("/conclave.js");
        window.client = await connect({ urls });
        window.heard = [];
        window.states = [];
        client.on("state", ({ state, recovered }) => states.push({ state, recovered }));
        client.on("signal", ({ from, type, payload }) => void heard.push({ from, type, payload }));
      },
      { urls: [at, ...nodes.filter((node) => node !== at)].map(({ http }) => http) },
    );
    assert.equal(await page.evaluate(() => client.via), "socket");
    return page;
  };
  return { a: await open("a", first), b: await open("b", second) };
}

const until = (page, condition, argument) => page.waitForFunction(condition, argument, { timeout: 60_000 });

describe("the client", { concurrency: 1 }, () => {
  it("pushes signals between nodes, once each and in order, though the receiver's node dies", async (test) => {
    const { nodes, leading, others } = await cluster(test);
    const { a, b } = await clients(test, nodes, others[0], leading);
    const peer = await a.evaluate(async () => {
      const id = crypto.randomUUID();
      await client.claim(id, { inviteCode: "aB3dE6gH" });
      return id;
    });
    await b.evaluate(() => client.claim(crypto.randomUUID()));
    assert.equal(await b.evaluate(() => client.lookup("aB3dE6gH")), peer);
    await b.evaluate((peer) => client.signal(peer, "offer", 0), peer);
    await until(a, () => heard.length === 1);

    process.kill(others[0].pid, "SIGKILL");
    await b.evaluate(async (peer) => {
      for (let i = 1; i <= 20; i++) await client.signal(peer, "ready", i);
    }, peer);
    await until(a, () => heard.length >= 21);
    const heard = await a.evaluate(() => heard.map(({ payload }) => payload));
    // A signal whose answer was lost may be sent twice; here the sender's node lives, and leads.
    assert.deepEqual(heard, [...Array(21).keys()]);
    // Signals come as soon as the session goes on, the word that it does once all of it is restored.
    await until(a, () => states.at(-1).state === "open");
    assert.deepEqual(await a.evaluate(() => states.at(-1)), { state: "open", recovered: true });
  });

  it("gives each message of a room once and in order, though a member's node dies", async (test) => {
    const { nodes, others } = await cluster(test);
    const { a, b } = await clients(test, nodes, others[0], others[1]);
    const join = (page) =>
      page.evaluate(async () => {
        window.seen = [];
        window.resumed = [];
        window.room = await client.join("planning", {
          onmessage: ({ data }) => void seen.push(data),
          onresume: ({ recovered }) => void resumed.push(recovered),
        });
      });
    await join(a);
    await join(b);
    assert.equal(await b.evaluate(async () => (await room.members()).length), 2);
    await b.evaluate(() => room.publish(0));
    await until(a, () => seen.length === 1);

    process.kill(others[0].pid, "SIGKILL");
    await b.evaluate(async () => {
      for (let i = 1; i <= 20; i++) await room.publish(i);
    });
    await until(a, () => seen.length >= 21);
    assert.deepEqual(await a.evaluate(() => seen), [...Array(21).keys()]);
    // Messages come as soon as the session goes on, the word of it once its members are known.
    await until(a, () => resumed.length > 0);
    assert.deepEqual(await a.evaluate(() => resumed), [true]);

    await a.evaluate(() => room.volatile("now"));
    await until(b, () => seen.includes("now"));
  });

  it("goes on with a session that a page left, and not with one that was taken over", async (test) => {
    const { nodes } = await cluster(test);
    const { a, b } = await clients(test, nodes, nodes[0], nodes[1]);
    const session = await a.evaluate(() => client.session);
    const taken = await b.evaluate(
      async ({ session, urls }) => {
        const { connect } = await import("/conclave.js");
        window.heir = await connect({ urls, session });
        return { session: heir.session, recovered: heir.recovered };
      },
      { session, urls: nodes.map(({ http }) => http) },
    );
    assert.deepEqual(taken, { session, recovered: true });
    await until(a, () => states.at(-1)?.state === "closed");
  });

  it("tells a watcher how a transfer goes", async (test) => {
    const { nodes } = await cluster(test);
    const { a, b } = await clients(test, nodes, nodes[0], nodes[1]);
    const id = await a.evaluate(async () => {
      const { Transfers } = await import("/transfers.js");
      window.transfers = new Transfers(client);
      return transfers.open({ pin: "watched", passwordHash: "demo", total: 3 });
    });
    await b.evaluate((id) => {
      window.news = [];
      client.watch({ transfer: id }, (state) => void news.push(state));
    }, id);
    await until(b, () => news.at(-1)?.received === 0);
    const sent = new Array(100_000).fill(7);
    await a.evaluate(
      (sent) => transfers.upload({ pin: "watched", passwordHash: "demo", data: new Uint8Array(sent) }),
      sent,
    );
    await until(b, () => news.at(-1).done);
    const received = await b.evaluate(async (id) => {
      const { Transfers } = await import("/transfers.js");
      return (await new Transfers(client).download({ id })).size;
    }, id);
    assert.equal(received, sent.length);
    await until(b, () => news.at(-1).acknowledged);
  });

  it("hears on though a WebRTC connection is closed while it takes a signal, or before", async (test) => {
    const { nodes, others } = await cluster(test);
    const { a, b } = await clients(test, nodes, others[0], others[1]);
    const peer = await a.evaluate(async () => {
      const { negotiate } = await import("/negotiate.js");
      window.troubles = [];
      client.on("error", ({ message }) => void troubles.push(message));
      client.on("signal", ({ type, payload }) => {
        window.negotiation ??= negotiate(() => {}, { polite: true });
        const taken = negotiation.receive(type, payload);
        // In the middle of it; after that, as often as something comes late.
        negotiation.close();
        return taken;
      });
      const id = crypto.randomUUID();
      await client.claim(id);
      return id;
    });
    await b.evaluate(async (peer) => {
      const pc = new RTCPeerConnection();
      pc.createDataChannel("any");
      await pc.setLocalDescription();
      await client.claim(crypto.randomUUID());
      const offer = pc.localDescription.toJSON();
      for (const type of ["offer", "offer", "bye", "ready"]) await client.signal(peer, type, offer);
      pc.close();
    }, peer);
    await until(a, () => heard.length === 4);
    assert.deepEqual(await a.evaluate(() => [troubles, negotiation.pc.signalingState]), [[], "closed"]);
  });

  it("says that an offer was refused, since nothing was claimed", async (test) => {
    const { nodes } = await cluster(test);
    const { a } = await clients(test, nodes, nodes[0], nodes[1]);
    const told = await a.evaluate(async () => {
      const { negotiate } = await import("/negotiate.js");
      return new Promise((resolve) => {
        const send = (type, payload) => client.signal("somebody", type, payload);
        negotiate(send, { onerror: ({ code }) => resolve(code) }).pc.createDataChannel("any");
      });
    });
    assert.equal(told, "not_claimed");
  });
});
