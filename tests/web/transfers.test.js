// Transfers at nodes whose answers are lost, and at nodes that remember no more than an acknowledgement.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { it } from "node:test";

import { connect, sleep } from "../../node/web/conclave.js";
import { Nodes } from "../../node/web/nodes.js";
import { Transfers } from "../../node/web/transfers.js";

const WORDS = { pin: "1", passwordHash: "2" };
/** How nodes answer for a transfer of one chunk. */
const EMPTY = [200, { totalChunks: 1, received: [], delivered: 0, acknowledged: false }];
const FULL = [200, { totalChunks: 1, received: [[0, 0]], delivered: 0, acknowledged: false }];
const ACKNOWLEDGED = [200, { totalChunks: 1, received: [[0, 0]], delivered: 1, acknowledged: true }];
const EARLY = [200, { totalChunks: 1, received: [[0, 0]], delivered: 0, acknowledged: true }];
const REMEMBERED = [404, { error: "not_found", acknowledged: true }];
const GONE = [404, { error: "not_found" }];
const CONFLICT = [409, { error: "chunk_conflict" }];
const STORED = [201, { status: "stored" }];
const LOST = "lost";
const BROKEN = "broken";

/** A node that gives the answers in turn to each kind of request, the last one again and again. */
async function node(test, answers) {
  const asked = [];
  const turns = { open: [[201, { transferId: "id" }]], ...answers };
  const server = createServer(async (request, response) => {
    await request.toArray();
    if (!/transfers/.test(request.url)) return response.end('{"nodes":[]}');
    const kind = request.url.endsWith("/ack") ? "ack" : { POST: "open", PUT: "put" }[request.method] ?? (/chunks/.test(request.url) ? "chunk" : "state");
    asked.push(kind);
    const turn = turns[kind].length > 1 ? turns[kind].shift() : turns[kind][0];
    if (turn === LOST) return request.socket.destroy();
    if (turn === BROKEN) return response.writeHead(201, { "content-length": 99 }).write("{", () => request.socket.destroy());
    const [status, body, headers = {}] = turn;
    response.writeHead(status, headers).end(Buffer.isBuffer(body) ? body : JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  test.after(() => server.close());
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  const nodes = new Nodes({ urls: url, stop: new AbortController().signal });
  const client = {
    http: (...request) => nodes.http(...request),
    watch: (_, handler) => ((client.tell = handler), () => {}),
  };
  return { url, client, asked, transfers: new Transfers(client) };
}

const upload = async (test, state, put) => {
  const { transfers } = await node(test, { state, put });
  const steps = [];
  const id = await transfers.upload({ ...WORDS, data: "x", onprogress: ({ done, total }) => steps.push(`${done} of ${total}`) });
  return { id, steps };
};

it("an upload succeeded if all was acknowledged while an answer was lost, whatever the chunk sent again is told", async (test) => {
  for (const refusal of [GONE, CONFLICT]) {
    for (const seen of [ACKNOWLEDGED, REMEMBERED])
      assert.deepEqual(await upload(test, [EMPTY, seen], [LOST, refusal]), { id: "id", steps: ["1 of 1"] });
  }
});

it("an upload whose transfer ended without an acknowledgement fails with what the chunk was told", async (test) => {
  for (const seen of [EMPTY, GONE]) {
    await assert.rejects(upload(test, [EMPTY, seen], [LOST, GONE]), { code: "not_found" });
    await assert.rejects(upload(test, [EMPTY, seen], [LOST, CONFLICT]), { code: "chunk_conflict" });
  }
});

it("an acknowledgement makes no success of an upload of other bytes", async (test) => {
  await assert.rejects(upload(test, [FULL, ACKNOWLEDGED], [CONFLICT]), { code: "chunk_conflict" });
  // It was acknowledged before it was known whether these are the same.
  await assert.rejects(upload(test, [FULL, REMEMBERED], [GONE]), { code: "transfer_finished" });
});

it("a chunk that was stored is stored, though its answer breaks off", async (test) => {
  assert.equal((await upload(test, [EMPTY], [BROKEN])).id, "id");
});

it("an acknowledgement counts, however it is told", { timeout: 20_000 }, async (test) => {
  const pushed = { received: 0, total: 0, done: false, acknowledged: true, gone: false };
  const gone = { ...pushed, acknowledged: false, gone: true };
  const wait = async (state, ...pushes) => {
    const { client, transfers } = await node(test, { state });
    const told = transfers.acknowledged("id");
    await sleep(100);
    for (const push of pushes) client.tell(push);
    return told;
  };
  // Where older nodes know nothing of it any more by the time that they are asked.
  assert.equal(await wait([FULL, GONE], pushed), true);
  assert.equal(await wait([FULL, GONE], pushed, gone), true);
  assert.equal(await wait([FULL, REMEMBERED], gone), true);
  assert.equal(await wait([REMEMBERED]), true);
  assert.equal(await wait([FULL, GONE], gone), false);
  // What was told of an earlier one under the same words is not said of this one.
  assert.equal(await wait([FULL, FULL, GONE], pushed, { ...pushed, acknowledged: false }, gone), false);
});

const chunk = (bytes) => {
  const digest = async () => Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("base64");
  return digest().then((hash) => [200, bytes, { "content-digest": `sha-256=:${hash}:` }]);
};

it("a download is done once everything is in its sink, though the transfer ends before it is acknowledged", async (test) => {
  const download = async (...ack) => {
    const { transfers, asked } = await node(test, { state: [FULL], chunk: [await chunk(Buffer.from("hello"))], ack });
    const blob = await transfers.download({ id: "id" });
    return { text: await blob.text(), acks: asked.filter((kind) => kind === "ack").length };
  };
  assert.deepEqual(await download(LOST, GONE), { text: "hello", acks: 2 });
  assert.deepEqual(await download(GONE), { text: "hello", acks: 1 });
  await assert.rejects(download([403, { error: "forbidden" }]), { code: "forbidden" });
});

it("what was acknowledged before all of it was handed out is there", async (test) => {
  const { transfers } = await node(test, { state: [EARLY], chunk: [await chunk(Buffer.from("hello"))], ack: [[200, { ok: true }]] });
  assert.equal(await (await transfers.download({ id: "id" })).text(), "hello");
});

it("what is acknowledged is downloaded by nobody, and is no empty file", async (test) => {
  for (const state of [[ACKNOWLEDGED], [REMEMBERED], [EMPTY, REMEMBERED]]) {
    const { transfers, asked } = await node(test, { state });
    await assert.rejects(transfers.download({ id: "id" }), { code: "transfer_finished", message: /its chunks are gone/ });
    assert.ok(!asked.includes("ack"));
  }
});

it("of a remembered acknowledgement no more is told by HTTP than by a socket", async (test) => {
  const { url, transfers } = await node(test, { state: [REMEMBERED] });
  const { total, received, done, acknowledged } = await transfers.state("id");
  assert.deepEqual({ total, received, done, acknowledged }, { total: 0, received: 0, done: false, acknowledged: true });
  const client = await connect({ urls: url, socket: false });
  test.after(() => client.close());
  const now = await new Promise((resolve) => client.watch({ transfer: "id" }, resolve));
  assert.deepEqual([now.done, now.acknowledged, now.gone], [false, true, false]);
});
