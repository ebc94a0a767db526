// The helpers for pictures.

import assert from "node:assert/strict";
import { test } from "node:test";

import { AsyncFrameLoader, FrameBuffer, ProgressiveLoader } from "../../../web/client/framewire.js";

/** A loader that answers when the test says so. */
function manual() {
  const asked = new Map();
  const load = (url) => new Promise((resolve, reject) => asked.set(url, { resolve, reject }));
  return { asked, load };
}

test("frames that come in any order leave the buffer in their own", async () => {
  const buffer = new FrameBuffer();
  const first = buffer.next();
  for (const index of [2, 0, 1]) assert.ok(buffer.push({ index }));
  assert.equal((await first).index, 0);
  assert.equal((await buffer.next()).index, 1);
  assert.equal((await buffer.next()).index, 2);
  assert.equal(buffer.push({ index: 1 }), false, "it is past");
});

test("a full buffer refuses what is far off and takes what is next", async () => {
  const buffer = new FrameBuffer(2);
  assert.ok(buffer.push({ index: 1 }) && buffer.push({ index: 2 }));
  assert.equal(buffer.push({ index: 3 }), false);
  assert.ok(buffer.push({ index: 0 }));
  assert.equal((await buffer.next()).index, 0);
});

test("a frame that never comes is passed over", async () => {
  const buffer = new FrameBuffer();
  buffer.push({ index: 1 });
  const next = buffer.next();
  buffer.skip();
  assert.equal((await next).index, 1);
});

test("a preview that was loaded after the frame does not take its place", async () => {
  const { asked, load } = manual();
  const shown = [];
  const loader = new ProgressiveLoader((_, kind) => shown.push(kind), load);
  const offers = ["fallback", "preview", "frame"].map((kind) => loader.offer(kind, `/${kind}`));
  asked.get("/fallback").resolve();
  await offers[0];
  asked.get("/frame").resolve();
  await offers[2];
  asked.get("/preview").resolve();
  assert.equal(await offers[1], false);
  assert.deepEqual(shown, ["fallback", "frame"]);
});

test("a picture that can't be loaded changes nothing", async () => {
  const { asked, load } = manual();
  const loader = new ProgressiveLoader(() => assert.fail("shown"), load);
  const offer = loader.offer("frame", "/gone");
  asked.get("/gone").reject(new Error("404"));
  assert.equal(await offer, false);
});

test("one address is loaded once at a time, and no more addresses than allowed", async () => {
  const { asked, load } = manual();
  const loader = new AsyncFrameLoader(load, { parallel: 1 });
  const [first, again, second] = [loader.load("/a"), loader.load("/a"), loader.load("/b")];
  assert.equal(first, again);
  assert.deepEqual([...asked.keys()], ["/a"]);
  asked.get("/a").resolve("A");
  assert.equal(await first, "A");
  await Promise.resolve();
  asked.get("/b").resolve("B");
  assert.equal(await second, "B");
});
