// A real nginx in front of a node, which gives the page a path.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const NGINX = process.env.NGINX_BIN ?? "nginx";
const UP_WITHIN_MS = 20_000;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const SOCKETS = `
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;`;

/** Puts `node` under `path`; without `sockets` as briefly as it can be said, so that no WebSocket gets through. Its address. */
export async function nginx(test, node, { path, sockets }) {
  const folder = mkdtempSync(join(tmpdir(), "conclave-nginx-"));
  const port = await freePort();
  const config = `
daemon off;
worker_processes 1;
pid ${folder}/pid;
error_log stderr error;
events {}
http {
    access_log off;
    client_body_temp_path ${folder}/body;
    proxy_temp_path ${folder}/proxy;
    fastcgi_temp_path ${folder}/fastcgi;
    uwsgi_temp_path ${folder}/uwsgi;
    scgi_temp_path ${folder}/scgi;
    server {
        listen 127.0.0.1:${port};
        location ${path} {
            proxy_pass ${node}/;${sockets ? SOCKETS : ""}
        }
    }
}
`;
  writeFileSync(join(folder, "nginx.conf"), config);
  const front = spawn(NGINX, ["-p", folder, "-c", join(folder, "nginx.conf")], { stdio: ["ignore", "inherit", "inherit"] });
  const ended = new Promise((resolve, reject) => front.once("exit", resolve).once("error", reject));
  ended.catch(() => {});
  test.after(async () => {
    front.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true });
  });
  const url = `http://127.0.0.1:${port}${path}`;
  const answers = async () => (await fetch(url)).ok;
  for (const end = Date.now() + UP_WITHIN_MS; !(await answers().catch(() => false)); ) {
    if (Date.now() > end) throw new Error("nginx does not answer");
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 50)), ended.then((code) => Promise.reject(new Error(`nginx ended with ${code}`)))]);
  }
  return url;
}
