// So many frames of one order, against a scripted gateway, with and without `POST /v1/frames/next`.

import assert from "node:assert/strict";

import { ProgressiveLoader } from "../../../web/client/framewire.js";
import { frameOf, json, Scripted, test } from "./scripted.mjs";

const TIMING = { remakeMs: 1, remakeMsMax: 2 };
const ORDER = { prompt: "a fox" };

/** A loader whose pictures are their addresses. */
const loaderOf = (fw) => new ProgressiveLoader(fw, { load: async (url) => url, timing: TIMING });

async function all(frames) {
  const pictures = [];
  for await (const { picture } of frames) pictures.push(picture);
  return pictures;
}

/** Has the gateway complete each job as soon as its stream is there to tell of it. */
async function drawAll(gateway, count, { failing = () => false } = {}) {
  for (let n = 1; n <= count; n++) {
    const id = `job_${n}`;
    await gateway.until(() => gateway.jobs.has(id) && gateway.streams.size > 0);
    if (failing(n)) gateway.tell(id, "failed", { status: "failed", data: { error: { message: "" } } });
    else gateway.complete(id);
  }
}

/** A gateway that has `POST /v1/frames/next`: `ready` are there until they are named as seen, the rest
 * are new jobs. */
function withNext(gateway, ready) {
  const asked = [];
  gateway.intercept = (request, response, body) => {
    if (request.url !== "/v1/frames/next" || !request.headers.authorization) return false;
    const { count, seen, ...order } = JSON.parse(body);
    asked.push({ count, seen, order });
    if (seen.length > 64) return json(response, 422, { detail: "names too many" });
    ready = ready.filter((name) => !seen.includes(frameOf(name, 0).url));
    const frames = ready.slice(0, count).map((name) => ({ ...frameOf(name, 0), job: name }));
    const jobs = Array.from({ length: count - frames.length }, () =>
      gateway.set(`job_${gateway.jobs.size + 1}`),
    );
    return json(response, 200, { object: "list", frames, jobs, fallback: null });
  };
  return asked;
}

test("without frames/next each frame is an order, a few at a time, and that is asked once", async (t) => {
  const gateway = await Scripted.start(t);
  const loader = loaderOf(gateway.client({ token: "t" }));
  gateway.intercept = (request, response) =>
    request.url === "/v1/frames/next" && json(response, 404, { code: "route_not_found" });
  const wanted = all(loader.want(6, ORDER));
  await gateway.until(() => gateway.jobs.size === 4);
  await drawAll(gateway, 6);
  assert.equal(new Set(await wanted).size, 6);
  const more = all(loader.want(1, ORDER));
  await gateway.until(() => gateway.jobs.size === 7);
  gateway.complete("job_7");
  assert.equal((await more).length, 1);
  assert.equal(gateway.count("POST /v1/frames/next"), 1);
});

test("a frame that fails is ordered again", async (t) => {
  const gateway = await Scripted.start(t);
  gateway.intercept = (request, response) =>
    request.url === "/v1/frames/next" && json(response, 404, {});
  const wanted = all(loaderOf(gateway.client({ token: "t" })).want(3, ORDER));
  await drawAll(gateway, 4, { failing: (n) => n === 2 });
  assert.equal((await wanted).length, 3);
  assert.equal(gateway.jobs.size, 4);
});

test("with frames/next one request asks for all: those that are ready come at once", async (t) => {
  const gateway = await Scripted.start(t);
  const asked = withNext(gateway, ["old_1", "old_2"]);
  const fw = gateway.client({ token: "t" });
  const frames = loaderOf(fw).want(4, { ...ORDER, n: 3, priority: "low" });
  const first = [(await frames.next()).value.picture, (await frames.next()).value.picture];
  assert.deepEqual(first, [frameOf("old_1", 0).url, frameOf("old_2", 0).url]);
  await gateway.until(() => gateway.streams.size > 0);
  for (const id of gateway.jobs.keys()) gateway.complete(id);
  assert.deepEqual((await all(frames)).sort(), ["job_1", "job_2"].map((id) => frameOf(id, 0).url));
  assert.deepEqual(asked, [{ count: 4, seen: [], order: { priority: "low", input: ORDER } }]);
  assert.equal(gateway.count("POST /v1/jobs"), 0);
  assert.equal(fw.inFlight, 0);
});

test("what failed of frames/next is asked for again, and what was seen is named", async (t) => {
  const gateway = await Scripted.start(t);
  const asked = withNext(gateway, ["old_1"]);
  const wanted = all(loaderOf(gateway.client({ token: "t" })).want(2, ORDER));
  await drawAll(gateway, 2, { failing: (n) => n === 1 });
  assert.equal((await wanted).length, 2);
  assert.deepEqual(
    asked.map(({ count, seen }) => [count, seen]),
    [
      [2, []],
      [1, [frameOf("old_1", 0).url]],
    ],
  );
});

test("of many frames those that came last are named, and no more than may be", async (t) => {
  const gateway = await Scripted.start(t);
  const names = Array.from({ length: 100 }, (_, n) => `old_${n}`);
  const asked = withNext(gateway, names);
  const came = await all(loaderOf(gateway.client({ token: "t" })).want(100, ORDER));
  assert.equal(new Set(came).size, 100);
  assert.equal(Math.max(...asked.map(({ seen }) => seen.length)), 64);
});

test("an order with a picture in it, which frames/next refuses, is one order for each frame", async (t) => {
  const gateway = await Scripted.start(t);
  withNext(gateway, []);
  const fw = gateway.client({ token: "t" });
  const wanted = all(loaderOf(fw).want(2, { ...ORDER, image: "data:image/png;base64,AAAA" }));
  await drawAll(gateway, 2);
  assert.equal((await wanted).length, 2);
  assert.deepEqual(
    ["POST /v1/frames/next", "POST /v1/jobs"].map((request) => gateway.count(request)),
    [0, 2],
  );
});

test("a lost answer of frames/next is asked for again", async (t) => {
  const gateway = await Scripted.start(t);
  withNext(gateway, ["old_1"]);
  const answer = gateway.intercept;
  let lost = 0;
  gateway.intercept = (request, response, body) =>
    request.url === "/v1/frames/next" && lost++ === 0
      ? Boolean(request.socket.destroy())
      : answer(request, response, body);
  const wanted = all(loaderOf(gateway.client({ token: "t" })).want(1, ORDER));
  assert.deepEqual(await wanted, [frameOf("old_1", 0).url]);
});

test("an order that is refused ends the loop with the reason", async (t) => {
  const gateway = await Scripted.start(t);
  gateway.intercept = (request, response) =>
    request.method === "POST" &&
    request.url !== "/v1/sessions" &&
    json(response, request.url === "/v1/jobs" ? 422 : 404, { detail: "No such size." });
  const wanted = all(loaderOf(gateway.client({ token: "t" })).want(1, ORDER));
  await assert.rejects(wanted, /No such size/);
  assert.equal(gateway.count("POST /v1/jobs"), 1, "a refusal is an answer");
});

test("an order whose jobs all fail is given up after a few rounds", async (t) => {
  const gateway = await Scripted.start(t);
  gateway.intercept = (request, response) =>
    request.url === "/v1/frames/next" && json(response, 404, {});
  const wanted = all(loaderOf(gateway.client({ token: "t" })).want(1, ORDER));
  await Promise.all([drawAll(gateway, 4, { failing: () => true }), assert.rejects(wanted)]);
  assert.equal(gateway.jobs.size, 4);
});

test("who leaves the loop early cancels what is under way", async (t) => {
  const gateway = await Scripted.start(t);
  withNext(gateway, ["old_1"]);
  const fw = gateway.client({ token: "t" });
  for await (const { picture } of loaderOf(fw).want(3, ORDER)) {
    assert.equal(picture, frameOf("old_1", 0).url);
    break;
  }
  const isOver = ({ status }) => status === "cancelled";
  await gateway.until(() => gateway.jobs.size === 2 && [...gateway.jobs.values()].every(isOver));
});
