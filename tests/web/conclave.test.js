// The client in Node, over proxies that do what networks do.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect as connectTo } from "node:net";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

import WebSocket from "ws";

import { answer, Client, connect, sleep } from "../../node/web/conclave.js";
import { Nodes } from "../../node/web/nodes.js";
import { Line, Request } from "../../node/web/socket.js";
import { Transfers } from "../../node/web/transfers.js";
import { cluster } from "./cluster.js";
import { Proxy } from "./proxy.js";

/** Waits for a condition; the test's own time limit ends it. */
async function until(condition) {
  while (!condition()) await sleep(20);
}

describe("the client", { concurrency: true, timeout: 300_000 }, () => {
  const ends = [];
  let urls;
  before(async () => {
    const { nodes } = await cluster({ after: (end) => ends.push(end) });
    urls = nodes.map(({ http }) => http);
  });
  after(async () => {
    for (const end of ends.reverse()) await end();
  });

  /** A client that the test's end closes, and the states it tells. */
  async function open(test, options = {}) {
    const client = await connect({ urls, WebSocket, ...options });
    test.after(() => client.close());
    const states = [];
    client.on("state", ({ state, via }) => states.push(via ? `${state} by ${via}` : state));
    return { client, states };
  }

  const room = () => `room-${crypto.randomUUID()}`;

  it("rejects once what is larger than a socket takes, and goes on", async (test) => {
    const { client, states } = await open(test);
    await client.claim(crypto.randomUUID());
    const entered = await client.join(room());
    const large = "x".repeat(200_000);
    await assert.rejects(client.signal("someone", "offer", large), { code: "payload_too_large", message: /This signal has 200065 bytes/ });
    await assert.rejects(entered.publish(large), { code: "payload_too_large" });
    await assert.rejects(client.lookup("zzzzzzzzzz"), ({ code }) => code !== "payload_too_large");
    assert.deepEqual(states, []);
  });

  it("sends many messages at the pace the server allows: all arrive, once and in order", async (test) => {
    const [a, b] = [await open(test), await open(test)];
    const [name, seen] = [room(), []];
    await a.client.join(name, { onmessage: ({ data }) => seen.push(data) });
    const entered = await b.client.join(name);
    await Promise.all(Array.from({ length: 250 }, (_, i) => entered.publish(i)));
    const large = "x".repeat(50_000);
    await Promise.all(Array.from({ length: 40 }, (_, i) => entered.publish([250 + i, large])));
    await until(() => seen.length >= 290);
    assert.deepEqual(seen.map((data) => (Array.isArray(data) ? data[0] : data)), [...Array(290).keys()]);
    assert.deepEqual([...a.states, ...b.states], []);
  });

  it("sends what piled up during an outage, and tells who left and came meanwhile", async (test) => {
    const proxy = await Proxy.before(test, urls[0]);
    const away = await open(test, { urls: [proxy.url] });
    const [stays, leaves, comes] = [await open(test), await open(test), await open(test)];
    const [name, seen, there] = [room(), [], new Set()];
    await stays.client.join(name, { onmessage: ({ data }) => seen.push(data) });
    const left = await leaves.client.join(name);
    const resumed = [];
    const entered = await away.client.join(name, {
      onjoin: (member) => there.add(member),
      onleave: (member) => there.delete(member),
      onresume: (now) => resumed.push({ ...now, told: new Set(there) }),
    });
    for (const member of await entered.members()) if (member !== entered.member) there.add(member);
    assert.equal(there.size, 2);

    proxy.open = false;
    proxy.cut();
    await until(() => away.states.includes("reconnecting"));
    const published = Array.from({ length: 200 }, (_, i) => entered.publish(i));
    await left.leave();
    const came = await comes.client.join(name);
    proxy.open = true;
    await Promise.all(published);
    await until(() => seen.length >= 200);
    assert.deepEqual(seen, [...Array(200).keys()]);
    assert.deepEqual(away.states, ["reconnecting", "open by socket"]);
    const others = new Set((await entered.members()).filter((member) => member !== entered.member));
    assert.ok(others.has(came.member) && !others.has(left.member));
    assert.equal(resumed.length, 1);
    assert.deepEqual([resumed[0].told, new Set(resumed[0].members)], [others, others]);
  });

  it("does not give a healthy connection up because its own timers are late", async (test) => {
    // As in a hidden tab: later than any answer may take. In a process of its own, for there is one set of timers.
    const program = `
      const real = globalThis.setTimeout;
      globalThis.setTimeout = (run, ms, ...rest) => real(run, ms < 100 ? ms : Math.max(ms, 10_000), ...rest);
      const { connect } = await import(${JSON.stringify(import.meta.resolve("../../node/web/conclave.js"))});
      const { WebSocket } = await import(${JSON.stringify(import.meta.resolve("ws"))});
      const client = await connect({ urls: ${JSON.stringify(urls)}, WebSocket, pingMs: 1000 });
      client.on("state", ({ state }) => state !== "waiting" && console.log(state));
      real(() => process.exit(), 32_000);`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program], {
      signal: test.signal,
    });
    assert.ok(!stdout.includes("reconnecting"), stdout);
  });

  it("stays in its room when another one is refused", async (test) => {
    const proxy = await Proxy.before(test, urls[0]);
    const [a, b] = [await open(test, { urls: proxy.url }), await open(test)];
    const [name, seen, resumed] = [room(), [], []];
    await a.client.join(name, {
      onmessage: ({ data }) => seen.push(data),
      onresume: ({ recovered }) => resumed.push(recovered),
    });
    const entered = await b.client.join(name);
    await assert.rejects(a.client.join("x".repeat(129)), { code: "invalid_input" });
    await entered.publish(1);
    await until(() => seen.length === 1);
    proxy.cut();
    await until(() => resumed.length);
    await entered.publish(2);
    await until(() => seen.length === 2);
    assert.deepEqual([seen, resumed], [[1, 2], [true]]);
  });

  it("leaves no room that was entered again, or that another one has followed", async (test) => {
    const [a, b] = [await open(test), await open(test)];
    const name = room();
    const heard = [];
    const other = await b.client.join(name);
    // As a component that is taken down and put up again before the answer has come.
    const gone = a.client.join(name).then((entered) => entered.leave());
    const again = await a.client.join(name, { onmessage: ({ data }) => void heard.push(data) });
    await gone;
    await again.publish(0);
    await other.publish(1);
    await until(() => heard.length === 1);
    assert.deepEqual(heard, [1]);

    const elsewhere = await a.client.join(room());
    await again.leave();
    await elsewhere.publish(2);
    // One that is asked for and refused leaves this one to be left.
    const refused = a.client.join("r".repeat(200));
    await Promise.all([elsewhere.leave(), assert.rejects(refused)]);
    await assert.rejects(elsewhere.publish(3), { code: "not_in_room" });
    // Whatever is asked for after it comes after it.
    const last = elsewhere.leave();
    await (await a.client.join(name)).publish(4);
    await last;
  });

  it("asks a silent server twice, says so, and goes on elsewhere", async (test) => {
    const proxy = await Proxy.before(test, urls[0]);
    const { client, states } = await open(test, { urls: [proxy.url, urls[1]], pingMs: 1000 });
    proxy.freeze(true);
    await until(() => states.length >= 3);
    assert.deepEqual(states, ["waiting", "reconnecting", "open by socket"]);
    assert.equal(client.urls[0], urls[1]);
    assert.equal(client.recovered, true);
  });

  it("does not connect where nobody is, and says why", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address();
    await promisify(gone.close.bind(gone))();
    const began = Date.now();
    const opening = connect({ urls: `http://127.0.0.1:${port}`, WebSocket, timeoutMs: 1500 });
    await assert.rejects(opening, { code: "unreachable", message: /^No node answered within 1.5 s. No node answers: / });
    assert.ok(Date.now() - began < 4000);
    await assert.rejects(connect({ urls: "one.example" }), { code: "invalid_input", message: /`one.example`/ });
  });

  it("goes by HTTP only while HTTP is answered, and back to a socket within seconds", async (test) => {
    const proxy = await Proxy.before(test, urls[0]);
    proxy.sockets = false;
    const { client, states } = await open(test, { urls: proxy.url });
    assert.equal(client.via, "http");
    const [peer, other] = [crypto.randomUUID(), await open(test)];
    const heard = [];
    client.on("signal", ({ payload }) => heard.push(payload));
    await client.claim(peer);
    await other.client.claim(crypto.randomUUID());
    await Promise.all([...Array(5).keys()].map((i) => other.client.signal(peer, "ready", i)));
    await until(() => heard.length === 5);
    assert.deepEqual(heard, [0, 1, 2, 3, 4]);
    await assert.rejects(client.join(room()), { code: "unavailable" });

    proxy.open = false;
    proxy.cut();
    await until(() => states.includes("reconnecting"));
    assert.equal(client.via, null);
    const sent = client.signal(peer, "ready", "after");
    await sleep(1000);
    assert.equal(states.filter((state) => state.startsWith("open")).length, 0);
    proxy.open = proxy.sockets = true;
    const back = Date.now();
    await sent;
    await until(() => client.via === "socket" && heard.includes("after"));
    assert.ok(Date.now() - back < 8000);
  });

  /** What stands before a node: it may be shut, refuse sockets, and lose one answer about `what`. */
  async function front(test) {
    const way = { open: true, sockets: false, lose: null, what: '"messages":[{', lost: 0 };
    const node = new URL(urls[0]);
    const forward = async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      const headers = { "content-type": "application/json" };
      const key = request.headers["idempotency-key"];
      if (key) headers["idempotency-key"] = key;
      const sent = way.open && (await fetch(urls[0] + request.url, { method: request.method, headers, body: body.length ? body : undefined }));
      const text = sent && (await sent.text());
      if (!way.open) return response.destroy();
      // Slower than a socket, so that the order is not one of chance.
      if (key) await sleep(200);
      response.writeHead(sent.status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
      if (!way.lose || !(body + text).includes(way.what)) return response.end(text);
      way.lost++;
      way.lose(response, text);
      way.lose = null;
    };
    const server = createServer((request, response) => void forward(request, response).catch(() => response.destroy()));
    server.on("upgrade", (request, client) => {
      if (!way.open || !way.sockets) return client.destroy();
      const through = connectTo(node.port, node.hostname);
      const head = request.rawHeaders.map((word, i) => word + (i % 2 ? "\r\n" : ": ")).join("");
      through.write(`${request.method} ${request.url} HTTP/1.1\r\n${head}\r\n`);
      through.pipe(client).pipe(through);
      for (const end of [client, through]) end.on("error", () => {}).on("close", () => (client.destroy(), through.destroy()));
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    test.after(() => (server.closeAllConnections(), server.close()));
    way.url = `http://127.0.0.1:${server.address().port}`;
    way.shut = () => ((way.open = false), server.closeAllConnections());
    return way;
  }

  /** A client by HTTP behind a front, what it heard, and who sends to it. */
  async function listener(test, options) {
    const way = await front(test);
    const { client, states } = await open(test, { urls: way.url, ...options });
    const [peer, heard, { client: other }] = [crypto.randomUUID(), [], await open(test)];
    client.on("signal", ({ payload }) => void heard.push(payload));
    await client.claim(peer);
    await other.claim(crypto.randomUUID());
    return { way, client, states, heard, send: (payload) => other.signal(peer, "ready", payload) };
  }

  it("fetches signals again whose answer broke off or was lost in an outage, once and in order", async (test) => {
    const { way, states, heard, send } = await listener(test, { socket: false });
    way.lose = (response, text) => (response.write(text.slice(0, 20)), setTimeout(() => response.destroy(), 50));
    await send(0);
    await until(() => way.lost === 1);
    await send(1);
    await until(() => heard.length === 2);
    way.lose = () => way.shut();
    await send(2);
    await until(() => states.includes("reconnecting"));
    await send(3);
    way.open = true;
    await until(() => heard.length === 4);
    await send(4);
    await until(() => heard.length === 5);
    assert.deepEqual([heard, way.lost], [[0, 1, 2, 3, 4], 2]);
  });

  it("sends a signal by HTTP once, though the answer is lost in an outage", async (test) => {
    const { way, client, states } = await listener(test, { socket: false });
    const [peer, heard, { client: other }] = [crypto.randomUUID(), [], await open(test)];
    other.on("signal", ({ payload }) => void heard.push(payload));
    await other.claim(peer);
    way.what = '"action":"signal"';
    way.lose = () => way.shut();
    const sent = client.signal(peer, "ready", 0);
    await until(() => states.includes("reconnecting"));
    way.open = true;
    await sent;
    await client.signal(peer, "ready", 1);
    await until(() => heard.includes(1));
    assert.deepEqual([heard, way.lost], [[0, 1], 1]);
  });

  it("hands out what a lost answer by HTTP held before what a socket pushes", async (test) => {
    const { way, client, states, heard, send } = await listener(test);
    assert.equal(client.via, "http");
    way.lose = () => way.shut();
    await send(0);
    await until(() => states.includes("reconnecting"));
    for (let i = 1; i < 4; i++) await send(i);
    way.open = way.sockets = true;
    await until(() => heard.length >= 4);
    await send(4);
    await until(() => heard.length >= 5);
    assert.deepEqual([heard, client.via, way.lost], [[0, 1, 2, 3, 4], "socket", 1]);
  });

  it("keeps signals until somebody listens", async (test) => {
    const [a, b] = [await open(test), await open(test)];
    const peer = crypto.randomUUID();
    await a.client.claim(peer);
    await b.client.claim(crypto.randomUUID());
    for (let i = 0; i < 3; i++) await b.client.signal(peer, "offer", i);
    await sleep(300);
    const heard = [];
    a.client.on("signal", ({ payload }) => heard.push(payload));
    await until(() => heard.length === 3);
    assert.deepEqual(heard, [0, 1, 2]);
  });

  it("calls nothing gone because it may not watch it, and asks for it every few seconds instead", async (test) => {
    const [{ client }, sender] = [await open(test), new Transfers((await open(test)).client)];
    const transfers = new Transfers(client);
    const [told, refusals] = [[], []];
    client.on("error", ({ code }) => refusals.push(code));
    const watched = await Promise.all(
      Array.from({ length: 17 }, () => transfers.open({ pin: crypto.randomUUID(), passwordHash: "hash", total: 1 })),
    );
    for (const transfer of watched) client.watch({ transfer }, (now) => told.push(now));
    await until(() => told.length >= 16 && refusals.length);
    assert.deepEqual(refusals, ["too_many_watches"]);
    assert.ok(told.every(({ gone }) => !gone));

    const real = client.http;
    let asked = 0;
    // A line on which an answer takes longer than the pause between two looks.
    client.http = (...request) => (asked++, sleep(150).then(() => real.apply(client, request)));
    const words = { pin: crypto.randomUUID(), passwordHash: "hash" };
    const download = transfers.download({ ...words, total: 1 });
    await until(() => refusals.length === 2);
    await sleep(3000);
    assert.ok(asked < 6, `${asked} requests while nothing happened`);
    await sender.upload({ ...words, data: "late" });
    assert.equal(await (await download).text(), "late");
    assert.deepEqual(new Set(refusals), new Set(["too_many_watches"]));
  });

  it("tells who watches that a transfer ended, by HTTP as by a socket", async (test) => {
    const transfer = randomBytes(32).toString("base64url");
    for (const socket of [true, false]) {
      const { client } = await open(test, { socket });
      const told = [];
      client.watch({ transfer }, ({ push, ...now }) => told.push(now));
      await until(() => told.length);
      assert.deepEqual(told[0], { transfer, received: 0, total: 0, done: false, acknowledged: false, gone: true });
    }
  });

  it("tells who watches how an exchange goes, by HTTP as by a socket", async (test) => {
    for (const socket of [true, false]) {
      const { client } = await open(test, { socket });
      const { sessionId: session } = await answer(client.http("POST", "/api/v1/sessions"));
      const told = [];
      client.watch({ session }, ({ offer, answer, gone }) => told.push({ offer, answer, gone }));
      await until(() => told.length);
      const body = JSON.stringify({ version: 1, sessionId: session, nonce: "n".repeat(16), ct: "c".repeat(16) });
      await answer(client.http("POST", `/api/v1/sessions/${session}/answer`, { body }));
      await until(() => told.at(-1).answer);
      await answer(client.http("DELETE", `/api/v1/sessions/${session}`));
      await until(() => told.at(-1).gone);
      assert.deepEqual(told[0], { offer: false, answer: false, gone: false });
    }
  });

  it("gives what is known to another watcher of the same thing, once its own watch has begun", async (test) => {
    const { client } = await open(test);
    const transfer = await new Transfers(client).open({ pin: crypto.randomUUID(), passwordHash: "hash", total: 1 });
    await new Promise((resolve) => client.watch({ transfer }, resolve));
    const ended = new Promise((resolve) => {
      const stop = client.watch({ transfer }, (now) => resolve((stop(), now)));
    });
    assert.equal((await ended).total, 1);
  });

  it("goes on though any handler of the program throws, at once or later, and says so", async (test) => {
    const proxy = await Proxy.before(test, urls[0]);
    const [{ client, states }, { client: other }] = [await open(test, { urls: [proxy.url] }), await open(test)];
    const mistakes = new Set();
    const mistake = (what) => {
      throw new Error(what);
    };
    const heard = [];
    client.on("error", (error) => (mistakes.add(error.message), mistake("in error")));
    client.on("state", () => mistake("in state"));
    client.on("state", async () => mistake("in state, later"));
    client.on("signal", () => mistake("in signal"));
    client.on("signal", ({ payload }) => heard.push(payload));
    const [name, peer] = [room(), crypto.randomUUID()];
    await client.claim(peer);
    await other.claim(crypto.randomUUID());
    const handlers = ["onmessage", "onjoin", "onleave", "onresume"];
    await client.join(name, Object.fromEntries(handlers.map((on) => [on, async () => mistake(`in ${on}`)])));
    await client.join(name, Object.fromEntries(handlers.map((on) => [on, () => mistake(`in ${on}`)])));
    const entered = await other.join(name);
    const transfer = await new Transfers(client).open({ pin: crypto.randomUUID(), passwordHash: "hash", total: 1 });
    client.watch({ transfer }, () => mistake("in watch"));
    client.watch({ transfer }, async () => mistake("in watch, later"));
    await entered.publish("a message");
    await until(() => mistakes.has("in onmessage") && mistakes.has("in watch") && mistakes.has("in watch, later"));

    proxy.cut();
    await until(() => mistakes.has("in onresume"));
    await until(() => states.includes("open by socket"));
    await entered.leave();
    await other.signal(peer, "ready", "heard");
    await until(() => mistakes.has("in onleave") && heard.length);
    const expected = ["onmessage", "onjoin", "onleave", "onresume", "signal", "state", "state, later", "watch", "watch, later"];
    assert.deepEqual([...mistakes].sort(), expected.map((where) => `in ${where}`).sort());
    assert.equal(client.via, "socket");
  });

  it("uploads nothing onto other bytes under the same words, and the same ones again", async (test) => {
    const transfers = new Transfers((await open(test)).client);
    const words = { pin: crypto.randomUUID(), passwordHash: "hash" };
    const id = await transfers.upload({ ...words, data: "first version" });
    const steps = [];
    const onprogress = ({ done }) => steps.push(done);
    assert.equal(await transfers.upload({ ...words, data: "first version", onprogress }), id);
    assert.deepEqual(steps, [1]);
    await assert.rejects(transfers.upload({ ...words, data: "other version" }), { code: "chunk_conflict", status: 409 });
    assert.equal(await (await transfers.download({ id })).text(), "first version");
  });

  it("signals by HTTP in the name of a claim that is still on its way", async (test) => {
    const [{ client: a }, { client: b }] = [await open(test), await open(test, { socket: false })];
    const [peer, own, heard] = [crypto.randomUUID(), crypto.randomUUID(), []];
    await a.claim(peer);
    a.on("signal", ({ from }) => heard.push(from));
    await assert.rejects(b.signal(peer, "offer", 0), { code: "not_claimed" });
    const inviteCode = own.slice(0, 8);
    await Promise.all([b.claim(own, { inviteCode }), b.signal(peer, "offer", 1)]);
    await until(() => heard.length);
    assert.deepEqual(heard, [own]);
  });

  it("goes by HTTP in a page without TLS, and says what transfers need", async (test) => {
    // Such a page has neither; in a process of its own, for there is one `crypto`.
    const program = `
      Object.defineProperty(crypto, "randomUUID", { value: undefined });
      Object.defineProperty(crypto, "subtle", { value: undefined });
      const { connect } = await import(${JSON.stringify(import.meta.resolve("../../node/web/conclave.js"))});
      const { Transfers } = await import(${JSON.stringify(import.meta.resolve("../../node/web/transfers.js"))});
      const client = await connect({ urls: ${JSON.stringify(urls)}, socket: false });
      const inviteCode = "a" + Date.now();
      await client.claim("insecure " + inviteCode, { inviteCode });
      console.log(await client.lookup(inviteCode) === "insecure " + inviteCode);
      const words = { pin: "insecure", passwordHash: inviteCode, data: "x" };
      await new Transfers(client).upload(words).catch(({ code, message }) => console.log(code, message));
      client.close();`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program], {
      signal: test.signal,
      timeout: 60_000,
    });
    assert.match(stdout, /^true\nunavailable Transfers need a secure context/);
  });

  it("gives the peer id and its invite code back at once when it is closed", async (test) => {
    const { client: leaves } = await open(test);
    const { client: comes } = await open(test);
    const [peer, inviteCode] = [crypto.randomUUID(), crypto.randomUUID().slice(0, 8)];
    await leaves.claim(peer, { inviteCode });
    assert.equal(await comes.lookup(inviteCode), peer);
    await assert.rejects(comes.claim(peer, { waitMs: 0 }), { code: "peer_in_use" });
    leaves.close();
    const began = Date.now();
    await comes.claim(peer, { inviteCode });
    // Nobody waits for the lease, which is half a minute; a loaded machine may take a moment.
    assert.ok(Date.now() - began < 5000, `${Date.now() - began} ms`);
  });

  it("gives them back when a socket is closed in order, too", async (test) => {
    const socket = new WebSocket(`${urls[0].replace("http", "ws")}/api/v1/socket`);
    const answer = async (message) => {
      socket.send(JSON.stringify(message));
      return JSON.parse((await once(socket, "message"))[0]);
    };
    await once(socket, "open");
    const peer = crypto.randomUUID();
    await answer({ id: 1, op: "hello" });
    assert.ok(!(await answer({ id: 2, op: "claim", peerId: peer })).error);
    socket.close(1001);
    const began = Date.now();
    await (await open(test)).client.claim(peer);
    assert.ok(Date.now() - began < 5000, `${Date.now() - began} ms`);
  });

  it("sends payloads of 64 KiB, to the byte", async (test) => {
    const [a, b] = [await open(test), await open(test)];
    const [peer, heard, seen] = [crypto.randomUUID(), [], []];
    await a.client.claim(peer);
    a.client.on("signal", ({ payload }) => heard.push(payload));
    await b.client.claim(crypto.randomUUID());
    const name = room();
    await a.client.join(name, { onmessage: ({ data }) => seen.push(data) });
    const entered = await b.client.join(name);
    // As JSON: the quotation marks count.
    const [fits, not] = ["x".repeat(65_534), "x".repeat(65_535)];
    await b.client.signal(peer, "offer", fits);
    await entered.publish(fits);
    await assert.rejects(b.client.signal(peer, "offer", not), { code: "payload_too_large" });
    await assert.rejects(entered.publish(not), { code: "payload_too_large" });
    await until(() => heard.length && seen.length);
    assert.deepEqual([heard, seen], [[fits], [fits]]);
    assert.deepEqual([...a.states, ...b.states], []);
  });

  it("sends something empty, which arrives as nothing", async (test) => {
    const up = new Transfers((await open(test)).client);
    const down = new Transfers((await open(test, { urls: urls.toReversed() })).client);
    for (const data of ["", new Blob([]), new Uint8Array()]) {
      const words = { pin: crypto.randomUUID(), passwordHash: "hash" };
      const id = await up.upload({ ...words, data });
      assert.equal((await down.download({ id })).size, 0);
      assert.equal(await up.acknowledged(id), true);
      const again = { pin: crypto.randomUUID(), passwordHash: "hash" };
      const [, got] = await Promise.all([up.upload({ ...again, data }), down.download({ ...again, total: 0 })]);
      assert.equal(got.size, 0);
    }
  });

  it("has no rooms without a WebSocket, and says what is missing", async (test) => {
    const { client } = await open(test, { WebSocket: undefined });
    if (!globalThis.WebSocket) {
      assert.equal(client.via, "http");
      await assert.rejects(client.join(room()), { code: "unavailable", message: /`WebSocket` option/ });
    }
  });

  it("says that a transfer is finished, and finishes one on a slow line", async (test) => {
    const proxy = await Proxy.before(test, urls[0]);
    proxy.rate = 24_000;
    const { client } = await open(test, { urls: proxy.url });
    const words = { pin: crypto.randomUUID(), passwordHash: "hash", data: new Uint8Array(200_000).fill(7) };
    const steps = [];
    const id = await new Transfers(client).upload({ ...words, onprogress: ({ done }) => steps.push(done) });
    assert.deepEqual(steps, [1, 2, 3, 4, 5]);
    const there = new Transfers((await open(test)).client);
    let bytes = 0;
    const got = await there.download({ id, onbytes: (count) => (bytes += count) });
    assert.deepEqual([got.size, bytes], [200_000, 200_000]);
    await assert.rejects(there.upload(words), { code: "transfer_finished", message: /another pin/ });
  });

  it("moves no bytes at all", async (test) => {
    const { client } = await open(test);
    for (const data of ["", new Blob([]), new Uint8Array()]) {
      const words = { pin: crypto.randomUUID(), passwordHash: "hash" };
      const id = await new Transfers(client).upload({ ...words, data });
      assert.equal((await new Transfers((await open(test)).client).download({ id })).size, 0);
    }
  });
});

it("a chunk that is answered 408 is sent again, with fewer beside it", async (test) => {
  let [busy, refusals, after] = [0, 1, []];
  const stored = new Set();
  const server = createServer(async (request, response) => {
    const json = (status, body) => response.writeHead(status).end(JSON.stringify(body));
    const [, chunk] = request.url.match(/chunks\/(\d+)$/) ?? [];
    if (request.method === "POST") return json(201, { transferId: "id" });
    if (!chunk) return json(200, { totalChunks: 30, received: [], acknowledged: false });
    busy++;
    if (refusals < 1) after.push(busy);
    await request.toArray();
    await sleep(30);
    const refused = stored.size > 10 && refusals-- > 0;
    busy--;
    if (refused) return json(408, { error: "request_timeout" });
    stored.add(chunk);
    json(201, { status: "stored" });
  }).listen(0, "127.0.0.1");
  test.after(() => server.close());
  await once(server, "listening");
  const stop = new AbortController();
  const nodes = new Nodes({ urls: `http://127.0.0.1:${server.address().port}`, stop: stop.signal });
  const client = { http: (...request) => nodes.http(...request), watch: () => () => {} };
  await new Transfers(client).upload({ pin: "1", passwordHash: "2", total: 30, chunk: () => new Uint8Array(9) });
  assert.equal(stored.size, 30);
  // Six were under way; five of them end before the next one begins.
  assert.ok(after[0] <= 4, `${after} at once after the refusal`);
});

it("a credential goes to no learned address of another scheme, nor to this machine by another's word", () => {
  const { signal: stop } = new AbortController();
  const learned = (urls, told) => {
    const nodes = new Nodes({ urls, stop });
    nodes.learn(told);
    nodes.move(told[0]);
    return nodes.all.sort();
  };
  const told = ["http://other.example", "https://other.example", "http://127.0.0.1:3000", "https://[::1]:3000"];
  assert.deepEqual(learned(["https://one.example"], told), ["https://one.example", "https://other.example"]);
  assert.deepEqual(learned(["http://one.example"], told), ["http://one.example", "http://other.example"]);
  assert.deepEqual(learned(["http://localhost:3001"], ["http://127.0.0.1:3000"]).length, 2);
  assert.deepEqual(learned(["https://one.example"], ["javascript:alert(1)", "https://"]), ["https://one.example"]);
});

it("a request waits as Retry-After says, in seconds or by a date, within its own time", async (test) => {
  let [headers, times] = [[], []];
  const server = createServer((_, response) => {
    times.push(Date.now());
    const after = headers.shift();
    response.writeHead(after === undefined ? 200 : 503, after ? { "retry-after": after } : {}).end("{}");
  }).listen(0, "127.0.0.1");
  test.after(() => server.close());
  await once(server, "listening");
  const { signal: stop } = new AbortController();
  const ask = async (timeoutMs, ...answers) => {
    const nodes = new Nodes({ urls: `http://127.0.0.1:${server.address().port}`, stop });
    [headers, times] = [answers, []];
    const { status } = await nodes.http("GET", "/", { timeoutMs });
    return { status, took: times.at(-1) - times[0], requests: times.length };
  };
  // A date has whole seconds: this one is one to two seconds from now.
  const date = await ask(9000, new Date(Date.now() + 2000).toUTCString());
  assert.ok(date.status === 200 && date.took >= 900 && date.took < 5000, JSON.stringify(date));
  const seconds = await ask(9000, "1");
  assert.ok(seconds.status === 200 && seconds.took >= 900, JSON.stringify(seconds));
  // What says "at once", or nothing that can be read, leaves the client's own pauses.
  for (const now of ["0", "soon", new Date(0).toUTCString()]) {
    const { status, requests } = await ask(1500, ...Array(1000).fill(now));
    assert.ok(status === 503 && requests < 30, `${requests} requests for ${now}`);
  }
  const long = await ask(1000, ...Array(9).fill("600"));
  assert.ok(long.status === 503 && long.took < 5000, JSON.stringify(long));
});

it("who is not answered is told why, and given what it came from", async (test) => {
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-length": 99 }).write("{", () => response.destroy());
  }).listen(0, "127.0.0.1");
  test.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address();
  const free = createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const nobody = free.address().port;
  free.close();
  // Where a name has several addresses, all of them fail, and the cause has no message of its own.
  for (const host of ["127.0.0.1", "localhost"]) {
    const urls = `http://${host}:${nobody}`;
    const refused = ({ code, message, cause }) => {
      assert.deepEqual([code, cause.code], ["unreachable", "ECONNREFUSED"]);
      assert.match(message, /No node answers.*: .*ECONNREFUSED/);
      return true;
    };
    await assert.rejects(connect({ urls, timeoutMs: 500 }), refused);
    const nodes = new Nodes({ urls, stop: new AbortController().signal });
    await assert.rejects(nodes.http("GET", "/", { timeoutMs: -1 }), refused);
  }
  await assert.rejects(answer(fetch(`http://127.0.0.1:${port}`)), ({ code, message, cause }) => {
    assert.deepEqual([code, message, cause.code], ["unreachable", `The answer broke off: ${cause.message}`, "UND_ERR_SOCKET"]);
    return true;
  });
});

/** A class of sockets that open at once and answer what `answers` has, by operation; `asked` is told every message. */
const socketsThat = (answers, asked = () => {}) =>
  class {
    readyState = 0;
    constructor() {
      queueMicrotask(() => this.onopen?.((this.readyState = 1)));
    }
    send(text) {
      const message = JSON.parse(text);
      const { id, op } = message;
      asked(op, message, this);
      if (answers[op]) queueMicrotask(() => this.hear({ id, ...answers[op] }));
    }
    hear(frame) {
      this.onmessage?.({ data: JSON.stringify(frame) });
    }
    close() {}
  };

it("a client that is closed in the turn that made it opens nothing", async () => {
  const asked = [];
  class Opened extends socketsThat({ hello: { session: "s" } }) {
    constructor() {
      super(asked.push("socket"));
    }
  }
  for (const socket of [true, false]) {
    const client = new Client({ urls: "http://127.0.0.1:9", WebSocket: Opened, socket });
    client.on("state", ({ state }) => asked.push(state));
    client.close();
    await assert.rejects(client.opened, { code: "closed" });
    await sleep(1);
  }
  assert.deepEqual(asked, ["closed", "closed"]);
});

it("a client that is closed while it greets, or by HTTP, says nothing after that", async (test) => {
  const server = createServer((_, response) => response.end('{"nodes":[]}')).listen(0, "127.0.0.1");
  test.after(() => server.close());
  await once(server, "listening");
  const urls = `http://127.0.0.1:${server.address().port}`;
  const states = [];
  const watching = new Promise((watches) => {
    const WebSocket = socketsThat({ hello: { session: "s" } }, (op) => op === "watch" && watches(client));
    const client = new Client({ urls, WebSocket });
    client.watch({ transfer: "t" }, () => {});
  });
  for (const client of [await watching, await connect({ urls, socket: false })]) {
    client.on("state", ({ state }) => states.push(state));
    client.close();
    await sleep(20);
    assert.equal(client.via, null);
  }
  assert.deepEqual(states, ["closed", "closed"]);
});

it("a signal that is handled while the client greets is acknowledged", { timeout: 20_000 }, async (test) => {
  let [first, acknowledged, handled] = [null, null, () => {}];
  const acknowledgement = new Promise((resolve) => (acknowledged = resolve));
  const asked = (op, message, socket) => {
    if (op === "ack") acknowledged(message.seq);
    if (op !== "claim") return;
    const answer = () => socket.hear({ id: message.id });
    if (!first) return (first = socket), queueMicrotask(answer);
    // As on a session that has its mailbox already: the signal comes before the answer.
    handled = () => setTimeout(answer, 20);
    socket.hear({ push: "signal", seq: 7, from: "x", type: "offer", payload: 1 });
  };
  const WebSocket = socketsThat({ hello: { session: "s" }, ack: {} }, asked);
  const client = await connect({ urls: ["http://127.0.0.1:9", "http://127.0.0.2:9"], WebSocket });
  test.after(() => client.close());
  client.on("signal", () => handled());
  await client.claim("peer");
  first.onclose({ code: 1006 });
  assert.equal(await acknowledgement, 7);
});

it("a room is left where the server left it: for one that is full, and for one whose entry was not answered", async (test) => {
  const [asked, seen, sockets] = [[], [], []];
  const answers = {
    A: { epoch: 1, offset: 0, member: "m", members: ["m"] },
    full: { error: { code: "room_full", message: "" } },
  };
  const WebSocket = socketsThat({ publish: {} }, (op, { id, room }, socket) => {
    asked.push(room ? `${op} ${room}` : op);
    if (op === "hello") {
      sockets.push(socket);
      const welcome = sockets.length > 1 ? { room: "B", members: ["m"], epoch: 2, offset: 0 } : {};
      queueMicrotask(() => socket.hear({ id, session: "s", ...welcome }));
    } else if (answers[room]) queueMicrotask(() => socket.hear({ id, room, ...answers[room] }));
  });
  const client = await connect({ urls: ["http://127.0.0.1:9", "http://127.0.0.2:9"], WebSocket });
  test.after(() => client.close());
  const hear = (offset) => sockets[0].hear({ push: "message", room: "A", epoch: 1, offset, data: offset });
  await client.join("A", { onmessage: ({ data }) => seen.push(data) });
  hear(1);
  await assert.rejects(client.join("full"), { code: "room_full" });
  hear(2);
  await client.join("A", { onmessage: ({ data }) => seen.push(data), onresume: () => seen.push("resumed") });
  const entering = client.join("B");
  hear(3);
  answers.B = { epoch: 2, offset: 0, member: "m", members: ["m"] };
  asked.length = 0;
  sockets[0].onclose({ code: 1006 });
  assert.equal((await entering).epoch, 2);
  assert.deepEqual([asked, seen], [["hello", "join B"], [1, 3]]);
});

it("what is refused as too much at once goes again in its order, and slows the client down once", async (test) => {
  const [sent, settled] = [[], []];
  const refuse = { error: { code: "rate_limited", message: "" } };
  const WebSocket = socketsThat({}, (op, { id }, socket) => {
    // The first flight is refused, all of it.
    const answer = sent.push(id) > 20 ? {} : refuse;
    queueMicrotask(() => socket.hear({ id, ...answer }));
  });
  const line = await new Promise((resolve) => {
    const made = new Line(WebSocket, "", { open: () => resolve(made), over: () => {} });
  });
  test.after(() => line.leave());
  const began = performance.now();
  const ids = [...Array(20).keys()];
  const all = ids.map(
    (id) => new Promise((resolve, reject) => line.send(new Request(id, "publish", {}, { resolve: () => resolve(settled.push(id)), reject }))),
  );
  line.start(20_000);
  await Promise.all(all);
  assert.deepEqual([sent, settled], [[...ids, ...ids], ids]);
  assert.ok(performance.now() - began < 5000, `${performance.now() - began} ms`);
});
