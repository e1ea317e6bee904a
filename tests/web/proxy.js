// A TCP proxy between a client and a node, which can be shut, cut, frozen and slowed down.

import net from "node:net";

export class Proxy {
  #server;
  #through = new Set();
  #free = 0;
  /** false: connections are closed at once. */
  open = true;
  /** false: WebSocket upgrades are closed. */
  sockets = true;
  /** Nothing passes, in either direction. */
  frozen = false;
  /** Bytes a second from the client, over all connections; 0: as many as come. */
  rate = 0;
  /** Connections that were taken. */
  count = 0;

  /** Starts one in front of `to`, which the test's end ends. */
  static async before(test, to) {
    const proxy = new Proxy();
    proxy.#server = net.createServer((client) => proxy.#take(client, Number(new URL(to).port)));
    await new Promise((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    test.after(() => {
      proxy.cut();
      proxy.#server.close();
    });
    return proxy;
  }

  /** Breaks what is there. */
  cut() {
    for (const socket of this.#through) socket.destroy();
  }

  freeze(frozen) {
    this.frozen = frozen;
    for (const socket of this.#through) frozen ? socket.pause() : socket.resume();
  }

  #take(client, port) {
    this.count++;
    if (!this.open) return client.destroy();
    const node = net.connect(port, "127.0.0.1");
    for (const socket of [client, node]) {
      this.#through.add(socket);
      socket.on("error", () => {});
      if (this.frozen) socket.pause();
    }
    // What was sent before a connection was closed arrives, however slow the line is.
    let passing = Promise.resolve();
    client.on("close", () => {
      this.#through.delete(client);
      void passing.then(() => node.destroySoon());
    });
    node.on("close", () => {
      this.#through.delete(node);
      client.destroySoon();
    });
    node.on("data", (bytes) => client.write(bytes));
    client.on("data", (bytes) => {
      if (!this.sockets && /^upgrade: *websocket/im.test(bytes.toString("latin1"))) return client.destroy();
      if (!this.rate) return node.write(bytes);
      client.pause();
      passing = pass(bytes);
    });
    const pass = async (bytes) => {
      while (bytes.length && this.rate) {
        const part = bytes.subarray(0, 600);
        bytes = bytes.subarray(600);
        this.#free = Math.max(this.#free, Date.now()) + (part.length / this.rate) * 1000;
        await new Promise((resolve) => setTimeout(resolve, this.#free - Date.now()));
        if (!node.destroyed) node.write(part);
      }
      if (bytes.length && !node.destroyed) node.write(bytes);
      if (!this.frozen) client.resume();
    };
    node.on("end", () => client.end());
    client.on("end", () => void passing.then(() => node.end()));
  }
}
