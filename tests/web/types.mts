import { connect, type Message } from "../../node/web/conclave.js";
import { Transfers } from "../../node/web/transfers.js";
import { negotiate } from "../../node/web/negotiate.js";
const client = await connect({ urls: ["http://x"], token: "t", WebSocket, timeoutMs: 5000 });
await connect({ getToken: async () => "t" });
// @ts-expect-error no token
await connect({ getToken: () => 7 });
const off = client.on("signal", async ({ type, payload, from }) => {
  const t: string = from;
  await receive(type, payload);
});
// As docs/javascript.md has it.
client.on("state", ({ state, via, recovered }) => `${state} ${via} ${recovered}`);
client.on("state", (s) => {
  if (s.state === "open") {
    const r: boolean | null = s.recovered;
  }
});
const { pc, receive } = negotiate((type, payload) => client.signal("bob", type, payload), { polite: true });
client.on("state", ({ state, error }) => state === "closed" && error.code && error.cause);
await client.http("GET", "/", { onagain: () => {} });
const room = await client.join("r", { onmessage(m: Message) {}, onresume: ({ members }) => members.length });
const { offset } = await room.publish({ a: 1 });
const stop = client.watch({ transfer: "x" }, (s) => s.received);
const t = new Transfers(client);
const id: string = await t.upload({ pin: "1", passwordHash: "2", data: new Blob([]) });
const blob: Blob = await t.download({ id, sink: (b, i) => b.length + i });
await t.download({ pin: "", passwordHash: "", total: 3 });
// @ts-expect-error neither data nor chunks
await t.upload({ pin: "", passwordHash: "" });
off();
stop();
export { pc, offset, blob };
