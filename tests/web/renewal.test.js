// The client asks the program for tokens when it needs them, and goes on under them.

import assert from "node:assert/strict";
import { it } from "node:test";

import WebSocket from "ws";

import { connect, sleep } from "../../node/web/conclave.js";
import { ALL, guarded, token } from "./guarded.js";

/** Waits for a condition; the test's own time limit ends it. */
async function until(condition) {
  while (!condition()) await sleep(20);
}

it("lives on under newer tokens, on one connection", { timeout: 120_000 }, async (test) => {
  const { nodes } = await guarded(test);
  const urls = nodes.map(({ http }) => http);
  const [opened, states, errors] = [[], [], []];
  class Counted extends WebSocket {
    constructor(url) {
      super(url);
      opened.push(url);
    }
  }
  let asked = 0;
  const getToken = async () => token(ALL, ++asked < 3 ? 5 : 600);
  const client = await connect({ urls, WebSocket: Counted, getToken });
  test.after(() => client.close());
  client.on("state", ({ state }) => void states.push(state));
  client.on("error", (error) => void errors.push(error));
  const heard = [];
  client.on("signal", ({ payload }) => void heard.push(payload));
  const peer = crypto.randomUUID();
  await client.claim(peer);
  const room = await client.join("renewed");
  const ended = Date.now() + 12_000;
  await until(() => asked === 3 && Date.now() > ended);
  await client.signal(peer, "ready", "still here");
  await room.publish(1);
  await until(() => heard.length === 1);
  assert.equal(asked, 3, "on connecting, and before the end of each");
  assert.deepEqual([opened.length, states, errors], [1, [], []]);
  assert.equal((await client.http("GET", "/api/v1/nodes")).status, 200, "requests go under the newest, too");
});

it("tells that a token did not come or was not taken, and comes back with a later one", { timeout: 120_000 }, async (test) => {
  const { nodes } = await guarded(test);
  const urls = nodes.map(({ http }) => http);
  let asked = 0;
  const getToken = async () => {
    if (++asked === 2) throw new Error("the issuer is away");
    return token(ALL, asked === 1 ? 5 : 600);
  };
  const client = await connect({ urls, WebSocket, getToken });
  test.after(() => client.close());
  const errors = [];
  client.on("error", ({ code, message }) => void errors.push(code ?? message));
  const states = [];
  client.on("state", ({ state, recovered }) => void states.push([state, recovered]));
  await until(() => errors.length === 1);
  assert.deepEqual([errors, client.via], [["the issuer is away"], "socket"], "the old one counts until its end");
  await until(() => states.at(-1)?.[0] === "open");
  assert.deepEqual(states, [["reconnecting", undefined], ["open", true]]);
});

it("keeps the old token where the new one is of another subject", { timeout: 120_000 }, async (test) => {
  const { nodes } = await guarded(test);
  const urls = nodes.map(({ http }) => http);
  let asked = 0;
  const getToken = async () => token(ALL, ++asked === 1 ? 5 : 600, asked === 1 ? "alice" : "mallory");
  const client = await connect({ urls, WebSocket, getToken });
  test.after(() => client.close());
  const error = await new Promise((resolve) => client.on("error", resolve));
  assert.deepEqual([error.code, client.via], ["forbidden", "socket"]);
});

it("asks once for another token when a request is refused", { timeout: 120_000 }, async (test) => {
  const { nodes } = await guarded(test);
  const urls = nodes.map(({ http }) => http);
  let [asked, good] = [0, true];
  const getToken = async () => (asked++, good ? token(ALL, 600) : "nonsense");
  const client = await connect({ urls, socket: false, token: "over", getToken });
  test.after(() => client.close());
  assert.equal(asked, 1, "the token that was given is tried first");
  const ask = async () => (await client.http("GET", "/api/v1/nodes")).status;
  assert.deepEqual([await ask(), asked], [200, 1]);

  const away = await connect({ urls, socket: false, token: token(ALL, 2), getToken });
  test.after(() => away.close());
  const over = Date.now() + 2_500;
  await until(() => Date.now() > over);
  const before = asked;
  const replies = await Promise.all(urls.map(() => away.http("GET", "/api/v1/nodes")));
  assert.deepEqual(replies.map(({ status }) => status), [200, 200, 200]);
  assert.ok(asked - before <= 1, "those that are refused at once have one answer");

  good = false;
  await assert.rejects(connect({ urls, WebSocket, token: "over", getToken }), { code: "unauthorized", status: 401 });
});
