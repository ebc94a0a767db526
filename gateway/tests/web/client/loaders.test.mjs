// The helpers for pictures.

import assert from "node:assert/strict";
import { test } from "node:test";

import { AsyncFrameLoader, FrameBuffer, JobPicture } from "../../../web/client/framewire.js";

const TIMING = { submitMs: 1, submitMsMax: 2, remakeMs: 1, remakeMsMax: 2 };

/** A loader that answers when the test says so. */
function manual() {
  const asked = new Map();
  const load = (url) => new Promise((resolve, reject) => asked.set(url, { resolve, reject }));
  return { asked, load };
}

/** Lets everything run that waits for nothing. */
const settle = () => new Promise((done) => setImmediate(done));

/** A maker of frames that finishes each when the test says so. */
function workshop() {
  const begun = [];
  const make = (signal) =>
    new Promise((resolve, reject) => begun.push({ resolve, reject, signal }));
  const finish = async (n, picture = { width: 8, height: 8 }) => {
    begun[n].resolve({ n, picture });
    await settle();
  };
  return { begun, make, finish };
}

test("a buffer keeps so many frames ahead, and begins another as soon as one is taken", async () => {
  const { begun, make, finish } = workshop();
  const buffer = new FrameBuffer(make, { ahead: 2 });
  assert.equal(begun.length, 2);
  await finish(0);
  assert.deepEqual([begun.length, buffer.size], [2, 1]);
  assert.equal(buffer.take().n, 0);
  assert.equal(buffer.take(), null);
  assert.equal(begun.length, 3);
  buffer.close();
});

test("frames leave in the order they were begun, and a late one holds up nobody", async () => {
  const { make, finish } = workshop();
  const buffer = new FrameBuffer(make, { ahead: 3 });
  await finish(2);
  await finish(1);
  assert.equal(buffer.take().n, 1);
  assert.equal(buffer.take().n, 2);
  const next = buffer.next();
  await finish(0);
  assert.equal((await next).n, 0);
  buffer.close();
});

test("a frame without a valid picture is made anew and never handed out", async () => {
  const pictures = [{ width: 0, height: 0 }, null, { width: 8, height: 8 }];
  let made = 0;
  const make = async () => {
    if (made === 1) made++;
    if (made > 2) return new Promise(() => {});
    return { n: made, picture: pictures[made++] };
  };
  const buffer = new FrameBuffer(make, { ahead: 1, timing: TIMING });
  assert.equal((await buffer.next()).n, 2);
  buffer.close();
});

test("what fails is made again until it succeeds", async () => {
  let tries = 0;
  const make = async () => {
    if (++tries < 6) throw new Error("an outage");
    return { picture: { width: 8, height: 8 } };
  };
  const buffer = new FrameBuffer(make, { ahead: 1, timing: TIMING });
  await buffer.next();
  assert.equal(tries >= 6, true);
  assert.equal(buffer.failed, 0);
  buffer.close();
});

test("a flush cancels what is under way, and what comes of it is not handed out", async () => {
  const { begun, make, finish } = workshop();
  const buffer = new FrameBuffer(make, { ahead: 1 });
  buffer.flush();
  assert.equal(begun[0].signal.aborted, true);
  let closed = 0;
  await finish(0, { width: 8, height: 8, close: () => closed++ });
  assert.deepEqual([buffer.size, closed, begun.length], [0, 1, 2]);
  await finish(1);
  assert.equal(buffer.take().n, 1);
  buffer.close();
});

test("a frame that does not come in time has its job cancelled", async () => {
  let cancelled = 0;
  let ordered = 0;
  const job = (result) => ({ result, status: "queued", cancel: async () => cancelled++ });
  const done = { frames: [{ url: "/f" }], status: "completed" };
  const fw = {
    generate: async () => job(ordered++ === 0 ? new Promise(() => {}) : Promise.resolve(done)),
  };
  const load = async () => ({ width: 8, height: 8 });
  const how = { ahead: 1, patienceMs: 5, load, timing: TIMING };
  const buffer = FrameBuffer.of(fw, () => ({ prompt: "a fox" }), how);
  const { frame, order } = await buffer.next();
  assert.deepEqual([frame.url, order.prompt, cancelled], ["/f", "a fox", 1]);
  buffer.close();
});

test("a preview that was loaded after the frame does not take its place", async () => {
  const { asked, load } = manual();
  const shown = [];
  const loader = new JobPicture((_, kind) => shown.push(kind), load);
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
  const loader = new JobPicture(() => assert.fail("shown"), load);
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
  await settle();
  asked.get("/b").resolve("B");
  assert.equal(await second, "B");
});

test("more downloads run at a time while they are quick, and fewer after a failure", async () => {
  const { asked, load } = manual();
  const loader = new AsyncFrameLoader(load, { parallel: 4, timing: { loadTries: 1 } });
  const running = () => asked.size;
  const loads = Array.from({ length: 12 }, (_, n) => loader.load(`/${n}`).catch(() => null));
  assert.equal(running(), 2, "it begins carefully");
  const finish = async (how) => {
    const [url, download] = asked.entries().next().value;
    asked.delete(url);
    how === "fails" ? download.reject(new Error("no")) : download.resolve(url);
    await settle();
  };
  for (let n = 0; n < 6; n++) await finish();
  assert.equal(running(), 4);
  await finish("fails");
  await finish("fails");
  assert.ok(running() < 4, `${running()} run`);
  while (asked.size > 0) await finish();
  await Promise.all(loads);
});

test("a slow network is not asked for two pictures at a time", async (t) => {
  const { asked, load } = manual();
  const navigator = globalThis.navigator;
  Object.defineProperty(globalThis, "navigator", {
    value: { connection: { effectiveType: "2g" } },
    configurable: true,
  });
  t.after(() =>
    Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true }),
  );
  const loader = new AsyncFrameLoader(load);
  void loader.load("/a");
  void loader.load("/b");
  assert.deepEqual([...asked.keys()], ["/a"]);
});

test("a picture is fetched again while nobody answers, and not after a no", async () => {
  let tries = 0;
  const flaky = async () => {
    if (++tries < 3) throw new TypeError("fetch failed");
    return "picture";
  };
  const loader = new AsyncFrameLoader(flaky, { timing: TIMING });
  assert.equal(await loader.load("/a"), "picture");
  assert.equal(tries, 3);
  let refusals = 0;
  const refusing = new AsyncFrameLoader(
    async () => {
      refusals++;
      throw new Error("404");
    },
    { timing: TIMING },
  );
  await assert.rejects(refusing.load("/a"), /404/);
  assert.equal(refusals, 1);
});
