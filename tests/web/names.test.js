// What is no name is refused by the client itself, whichever way it would have gone.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { it } from "node:test";

import { connect, sleep } from "../../node/web/conclave.js";
import { Fallback } from "../../node/web/fallback.js";
import { Transfers } from "../../node/web/transfers.js";

const NONE = [undefined, null, "", 7, {}];

/** Sockets that open at once and answer everything. */
const sockets = (sent) =>
  class {
    readyState = 0;
    constructor() {
      queueMicrotask(() => this.onopen?.((this.readyState = 1)));
    }
    send(text) {
      const { id, op } = JSON.parse(text);
      sent.push(op);
      const answer = { id, session: "s", epoch: 1, offset: 0, member: "m", members: ["m"] };
      queueMicrotask(() => this.onmessage?.({ data: JSON.stringify(answer) }));
    }
    close() {}
  };

/** A client for either way, what it sent, and what it told as errors. */
async function clients(test) {
  const sent = [];
  const server = createServer((request, response) => {
    if (request.url !== "/api/v1/nodes") sent.push(`${request.method} ${request.url}`);
    response.end('{"nodes":[],"messages":[]}');
  }).listen(0, "127.0.0.1");
  test.after(() => (server.close(), server.closeAllConnections()));
  await once(server, "listening");
  const urls = `http://127.0.0.1:${server.address().port}`;
  const open = async (options) => {
    const client = await connect({ urls, ...options });
    test.after(() => client.close());
    client.on("error", (error) => sent.push(`error: ${error.message}`));
    return client;
  };
  const bySocket = await open({ WebSocket: sockets(sent) });
  const room = await bySocket.join("planning");
  const byHttp = await open({ socket: false });
  assert.deepEqual([bySocket.via, byHttp.via], ["socket", "http"]);
  sent.length = 0;
  return { all: [bySocket, byHttp], room, sent };
}

it("what is no name is refused by its own name, by socket as by HTTP, and nothing is sent", async (test) => {
  const { all, room, sent } = await clients(test);
  const refused = (call, name) => assert.rejects(async () => call(), { name: "ConclaveError", code: "missing_fields", message: RegExp(name) });
  for (const client of all) {
    const transfers = new Transfers(client);
    for (const none of NONE) {
      await refused(() => client.claim(none), "`peerId`");
      // One that is absent is none.
      if (none != null) await refused(() => client.claim("me", { inviteCode: none }), "`inviteCode`");
      await refused(() => client.lookup(none), "`inviteCode`");
      await refused(() => client.signal(none, "offer", 1), "`to`");
      await refused(() => client.signal("you", none, 1), "`type`");
      await refused(() => client.join(none), "`name`");
      await refused(() => client.http("GET", none), "`path`");
      await refused(() => transfers.open({ pin: none, passwordHash: "p", total: 1 }), "`pin`");
      await refused(() => transfers.upload({ pin: "p", passwordHash: none, data: "x" }), "`passwordHash`");
      await refused(() => transfers.download({ id: none }), "`id`");
      for (const call of ["state", "acknowledge", "acknowledged"]) await refused(() => transfers[call](none), "`id`");
      assert.throws(() => client.watch({ transfer: none }, () => {}), { code: "missing_fields", message: /`transfer`/ });
      if (none != null) assert.throws(() => client.watch({ session: none }, () => {}), { code: "missing_fields", message: /`session`/ });
    }
    assert.throws(() => client.watch(undefined, () => {}), { code: "missing_fields", message: /`transfer`/ });
    for (const data of [undefined, null]) await refused(() => transfers.upload({ pin: "p", passwordHash: "p", data }), "`data`");
    for (const total of [undefined, null, "", "1", -1, 1.5, 2049])
      await assert.rejects(transfers.download({ pin: "p", passwordHash: "p", total }), { code: "invalid_input", message: /`total`/ });
    await refused(() => client.signal("you", "offer", undefined), "`payload`");
    for (const call of [() => client.claim("x".repeat(257)), () => client.signal("x".repeat(257), "offer", 1)])
      await assert.rejects(call, { code: "invalid_input", message: /longer than 256 characters/ });
    await assert.rejects(client.http("GET", ".example"), { code: "invalid_input", message: /`path`/ });
  }
  for (const call of ["publish", "volatile"]) await refused(() => room[call](undefined), "`data`");
  await sleep(50);
  assert.deepEqual(sent, []);
});

it("a peer id has 256 characters, however many bytes they are", async (test) => {
  const { all } = await clients(test);
  for (const client of all) await client.claim("😀".repeat(256));
});

it("what a poll throws at once is an error event like any other failure", async (test) => {
  const failed = await new Promise((resolve) => {
    const polls = () => ({
      ask() {
        throw new Error("at once");
      },
    });
    const fallback = new Fallback({}, { polls, failed: resolve });
    test.after(() => fallback.end());
    fallback.poll({ peerId: "me" });
  });
  assert.equal(failed.message, "at once");
});
