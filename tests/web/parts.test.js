// The parts of the page and of the client that need no cluster.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes, randomInt } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { it } from "node:test";

import esbuild from "esbuild";

import * as codes from "../../node/web/code.js";
import { qr } from "../../node/web/qr.js";
import { plainName, words } from "../../node/web/messages.js";
import { bytesBefore, count, Reader, Writer } from "../../node/web/records.js";
import { key, Letters, Records, root } from "../../node/web/seal.js";
import { Sha256 } from "../../node/web/sha256.js";
import { gathered } from "../../node/web/sink.js";
import { receiveDirect, sendDirect } from "../../node/web/transports.js";
import { Crc32, zip } from "../../node/web/zip.js";
import { read } from "./qr.js";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

it("the client is smaller than 24 kB", async () => {
  const built = await esbuild.build({
    entryPoints: [path("../../node/web/conclave.js")],
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
  });
  assert.ok(built.outputFiles[0].contents.length < 24_000, `${built.outputFiles[0].contents.length} bytes`);
});

it("the types fit a program that uses all of the client", () => {
  const tsc = path("node_modules/typescript/bin/tsc");
  execFileSync(
    process.execPath,
    [
      tsc,
      "--noEmit",
      "--strict",
      "--target",
      "es2022",
      "--module",
      "nodenext",
      "--lib",
      "es2022,dom",
      path("types.mts"),
    ],
    { stdio: "inherit" },
  );
});

it("a QR code of any length says what was put in", () => {
  for (let length = 1; length <= 213; length += 7) {
    const text = randomBytes(length).toString("base64url").slice(0, length);
    const modules = qr(text);
    assert.equal(read(modules), text);
  }
  assert.equal(qr("x".repeat(214)), null);
});

it("a code is read however it is typed", () => {
  const code = codes.fresh();
  const spelled = codes.spell(code);
  for (const typed of [
    spelled,
    spelled.toLowerCase(),
    spelled.replaceAll("-", " "),
    `https://a.example/#${spelled}`,
  ]) {
    assert.deepEqual(codes.parse(typed), code);
  }
  assert.deepEqual(codes.parse("oOiI-lL11-AAAA-0000-0000-0000"), {
    invite: "00111111AAAA",
    secret: "000000000000",
  });
  for (const none of ["", "K7QM", spelled + "0", "https://a.example/"]) assert.equal(codes.parse(none), null);
});

it("what no code has is named, and what is read kindly is not", () => {
  assert.deepEqual(codes.strange("k7qm-2x9d oOiIlL1"), []);
  assert.deepEqual(codes.strange("K7UM-2Ж9u"), ["U", "Ж"]);
});

it("a name keeps its end and fits 255 bytes, and leads nowhere", () => {
  const bytes = (text) => Buffer.byteLength(text);
  assert.equal(plainName("a".repeat(251) + ".txt").length, 255);
  for (const char of ["a", "é", "名", "😀"]) {
    const name = plainName(char.repeat(300) + ".txt");
    assert.ok(name.endsWith(`${char}.txt`) && bytes(name) <= 255 && bytes(name) > 255 - 4, `${bytes(name)} bytes`);
  }
  assert.deepEqual(["", ".", "..", "...", "../a", ".profile"].map(plainName), ["file", "_", "__", "...", ".._a", ".profile"]);
});

it("who can't choose a file again is not told to", () => {
  assert.match(words({ code: "unreadable_file" }).text, /Choose it again/);
  assert.match(words({ code: "other_unreadable_file" }).text, /Ask the sender/);
});

it("SHA-256 of pieces is SHA-256 of the whole", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_000]) {
    const bytes = randomBytes(length);
    const hash = new Sha256();
    for (let at = 0; at < length;) {
      const next = Math.min(length, at + randomInt(1, 200));
      hash.update(bytes.subarray(at, next));
      at = next;
    }
    assert.equal(hash.hex(), createHash("sha256").update(bytes).digest("hex"));
  }
});

/** A sink that keeps what it is given. */
function memory() {
  const parts = [];
  return {
    write: async (bytes) => void parts.push(bytes.slice()),
    finish: async () => Buffer.concat(parts),
    abandon: async () => {},
  };
}

const named = (name, bytes) => Object.assign(new Blob([bytes]), { name });

it("files come together again from runs that break anywhere", async () => {
  const contents = [randomBytes(120_000), Buffer.alloc(0), randomBytes(49_135), randomBytes(7)];
  const files = contents.map((bytes, i) => named(`file ${i}`, bytes));
  const sizes = files.map((file) => file.size);
  const reader = new Reader(files);
  const writer = new Writer(
    files.map(({ name, size }) => ({ name, size })),
    async () => memory(),
  );
  for (let runs = 0; !writer.complete; runs++) {
    assert.ok(runs < 100);
    const at = writer.at;
    const total = count(sizes, at);
    const breaksAfter = Math.min(total, 1 + (runs % 3));
    // The sender may have read further than what arrived.
    for (let i = 0; i < Math.min(total, breaksAfter + 2); i++) {
      const record = await reader.read(at, i);
      if (i < breaksAfter) await writer.write(record);
    }
    assert.equal(writer.done, bytesBefore(sizes, at, breaksAfter));
  }
  assert.deepEqual(
    writer.finished.map(({ blob }) => blob),
    contents,
  );
});

it("a file is read in pieces of many records, also where these are asked for all at once", async () => {
  const bytes = randomBytes(5_000_000);
  const file = named("large", bytes);
  let slices = 0;
  file.slice = (...range) => (slices++, Blob.prototype.slice.apply(file, range));
  const reader = new Reader([file]);
  const from = (offset) => {
    const at = { file: 0, offset };
    return Promise.all(Array.from({ length: count([bytes.length], at) }, (_, i) => reader.read(at, i)));
  };
  for (const offset of [0, 49_135 * 30, 1000]) {
    const records = await from(offset);
    const end = JSON.parse(Buffer.from(records.pop().subarray(1)).toString());
    assert.equal(end.sha256, createHash("sha256").update(bytes).digest("hex"));
    assert.deepEqual(Buffer.concat(records.map((record) => record.subarray(1))), bytes.subarray(offset));
  }
  assert.ok(slices < 20, `${slices} reads`);
});

it("what is written is gathered, one piece under way at a time, and a failure is told", async () => {
  const [bytes, written] = [randomBytes(1000), []];
  let under = 0;
  const pieces = gathered(async (piece) => {
    assert.equal(under++, 0);
    await new Promise((resolve) => setTimeout(resolve, 1));
    written.push(piece);
    under--;
  }, 64);
  for (let at = 0; at < bytes.length; at += 130) await pieces.write(bytes.subarray(at, at + 130));
  await pieces.finish();
  assert.deepEqual(Buffer.concat(written), bytes);
  assert.equal(written.length, Math.ceil(bytes.length / 64));

  const full = gathered(() => Promise.reject(new DOMException("full", "QuotaExceededError")), 64);
  await full.write(bytes.subarray(0, 100));
  await assert.rejects(full.write(bytes.subarray(0, 100)), { name: "QuotaExceededError" });
  await assert.rejects(full.finish(), { name: "QuotaExceededError" });
});

it("a file that became shorter can't be read, wherever one goes on", async () => {
  const file = named("shrunk", randomBytes(200_000));
  // Firefox reads what is left, and says nothing.
  file.slice = (from, to) => Blob.prototype.slice.call(file, Math.min(from, 60_000), Math.min(to, 60_000));
  const reader = new Reader([file]);
  const at = { file: 0, offset: 0 };
  assert.equal((await reader.read(at, 0)).length, 49_136);
  for (const record of [1, 2, count([file.size], at) - 1]) await assert.rejects(reader.read(at, record), /shorter/);
  await assert.rejects(new Reader([file]).read({ file: 0, offset: 150_000 }, 0), /shorter/);
});

/** Two ends of a data channel. */
function channels() {
  const ends = [new EventTarget(), new EventTarget()];
  for (const [i, end] of ends.entries()) {
    end.bufferedAmount = 0;
    end.send = (data) => {
      const event = Object.assign(new Event("message"), { data: typeof data === "string" ? data : data.buffer });
      setTimeout(() => ends[1 - i].dispatchEvent(event));
    };
  }
  return ends;
}

it("records are sealed and opened ahead, and taken in their order, no more than the window at once", async () => {
  const [here, there] = channels();
  const late = () => new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
  const { signal } = new AbortController();
  const [run, total, taken] = [3, 600, []];
  let [sealed, ahead] = [0, 0];
  const seal = async (i) => {
    sealed++;
    await late();
    return Uint8Array.of(i >> 8, i);
  };
  const open = async (i, record) => {
    await late();
    assert.equal((record[0] << 8) | record[1], i);
    return i;
  };
  const take = async (record) => {
    if (record % 50 === 0) await late();
    taken.push(record);
    ahead = Math.max(ahead, sealed - taken.length);
  };
  const receiving = receiveDirect(there, { run, total, open, take, signal });
  await Promise.all([receiving, sendDirect(here, { run, total, seal, onreceived: () => {}, signal })]);
  assert.deepEqual(taken, [...Array(total).keys()]);
  assert.ok(ahead > 16 && ahead <= 256 + 2 * 16, `${ahead} ahead`);
});

it("a file that was changed on the way is refused", async () => {
  const bytes = randomBytes(1000);
  const reader = new Reader([named("a", bytes)]);
  const writer = new Writer([{ name: "a", size: 1000 }], async () => memory());
  const record = await reader.read({ file: 0, offset: 0 }, 0);
  record[5] ^= 1;
  await writer.write(record);
  await assert.rejects(
    async () => writer.write(await reader.read({ file: 0, offset: 0 }, 1)),
    /did not arrive as it was sent/,
  );
});

it("others read our archives, also those whose sizes and places need 64 bits", async (test) => {
  const folder = mkdtempSync(join(tmpdir(), "conclave-zip-"));
  test.after(() => rmSync(folder, { recursive: true }));
  const contents = [["notes.txt", 300], ["ノート.txt", 5000], ["NOTES.txt", 0], ["large.bin", 70_000]];
  const files = contents.map(([name, size]) => {
    const bytes = randomBytes(size);
    const crc = new Crc32();
    crc.update(bytes);
    return { name, size, bytes, crc32: crc.value, blob: new Blob([bytes]) };
  });
  const expected = files.map(({ bytes }) => createHash("sha256").update(bytes).digest("hex"));
  for (const large of [undefined, 1000, 1]) {
    const path = join(folder, "archive.zip");
    writeFileSync(path, Buffer.from(await zip(files, { large }).arrayBuffer()));
    const program = `
import hashlib, json, zipfile
archive = zipfile.ZipFile(${JSON.stringify(path)})
assert archive.testzip() is None
print(json.dumps([[name, hashlib.sha256(archive.read(name)).hexdigest()] for name in archive.namelist()]))`;
    const listed = JSON.parse(execFileSync("python3", ["-c", program], { encoding: "utf8" }));
    assert.deepEqual(listed.map(([name]) => name), ["notes.txt", "ノート.txt", "NOTES (2).txt", "large.bin"]);
    assert.deepEqual(listed.map(([, digest]) => digest), expected);
  }
});

it("an archive's names that are alike are told apart within 255 bytes", async () => {
  const name = "名".repeat(83) + ".txt";
  const files = Array.from({ length: 11 }, () => ({ name, size: 0, crc32: 0, blob: new Blob([]) }));
  const bytes = Buffer.from(await zip(files).arrayBuffer());
  const names = [];
  for (let at = 0; bytes.readUInt32LE(at) === 0x04034b50;) {
    const length = bytes.readUInt16LE(at + 26);
    names.push(bytes.toString("utf8", at + 30, at + 30 + length));
    at += 30 + length;
  }
  assert.deepEqual([names[0], names[10]], [name, `${"名".repeat(82)} (11).txt`]);
  assert.equal(new Set(names).size, 11);
  assert.ok(names.every((each) => Buffer.byteLength(each) <= 255));
});

it("a file of more than 4 GiB is counted right", () => {
  const sizes = [5 * 2 ** 30 + 7, 0, 3];
  const data = 49_135;
  const records = Math.ceil(sizes[0] / data) + 1;
  assert.equal(count(sizes, { file: 0, offset: 0 }), records + 1 + 2);
  assert.equal(bytesBefore(sizes, { file: 0, offset: 0 }, 90_000), 90_000 * data);
  assert.equal(bytesBefore(sizes, { file: 0, offset: 0 }, records), sizes[0]);
  const at = { file: 0, offset: 100_000 * data };
  assert.equal(count(sizes, at), records - 100_000 + 3);
  assert.equal(bytesBefore(sizes, at, 1), 100_001 * data);
  assert.ok(records < 2 ** 32, "the number of a record fits its nonce");
});

it("a letter opens once, for its addressee, with the whole code", async () => {
  const code = codes.fresh();
  const secret = await root(code);
  const sender = await Letters.between(secret, "sender", "receiver");
  const receiver = await Letters.between(secret, "receiver", "sender");
  const letter = await receiver.seal("bob", "alice", "ready", { hello: 1 });
  await assert.rejects(sender.open("bob", "carol", "ready", letter), "another addressee");
  await assert.rejects(receiver.open("bob", "alice", "ready", letter), "thrown back");
  const guessed = await Letters.between(
    await root({ ...code, secret: "000000000000" }),
    "sender",
    "receiver",
  );
  await assert.rejects(guessed.open("bob", "alice", "ready", letter), "another code");
  assert.deepEqual(await sender.open("bob", "alice", "ready", letter), { hello: 1 });
  assert.equal(await sender.open("bob", "alice", "ready", letter), null, "a second time");
  const [early, late] = [await receiver.seal("bob", "alice", "ready", 1), await receiver.seal("bob", "alice", "ready", 2)];
  assert.equal(await sender.open("bob", "alice", "ready", late), 2);
  assert.equal(await sender.open("bob", "alice", "ready", early), 1, "one that was overtaken");
  assert.equal(await sender.open("bob", "alice", "ready", early), null);
});

it("a record opens under its own number and run alone", async () => {
  const secret = await root(codes.fresh());
  const salt = randomBytes(32);
  const one = new Records(await key(secret, salt, "run 1"));
  const two = new Records(await key(secret, salt, "run 2"));
  const sealed = await one.seal(7, Buffer.from("hello"));
  assert.equal(Buffer.from(await one.open(7, sealed)).toString(), "hello");
  await assert.rejects(one.open(8, sealed));
  await assert.rejects(two.open(7, sealed));
});
