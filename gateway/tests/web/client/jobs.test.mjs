// One job's life in the client, against a scripted gateway.

import assert from "node:assert/strict";

import { FakeStorage, FALLBACK, frameOf, json, Scripted, test } from "./scripted.mjs";

/** A client whose stream is open, and a job in flight. */
async function inFlight(t, options) {
  const gateway = await Scripted.start(t);
  const fw = gateway.client(options);
  const job = await fw.generate({ prompt: "a fox" });
  await gateway.until(() => gateway.streams.size === 1);
  return { gateway, fw, job };
}

/** Reads a job's events until one of a type. */
async function heard(events, type) {
  for await (const event of { [Symbol.asyncIterator]: () => events }) {
    if (event.type === type) return event;
  }
  throw new Error(`the events ended before ${type}`);
}

test("a job tells its place, steps, preview and frame in order, and then nothing holds it", async (t) => {
  const { gateway, fw, job } = await inFlight(t);
  const seen = [];
  job.on({
    position: (ahead) => seen.push(`position ${ahead}`),
    progress: ({ step }) => seen.push(`step ${step}`),
    preview: ({ url }) => seen.push(url),
    frame: ({ url }) => seen.push(url),
    settled: ({ status }) => seen.push(status),
  });
  gateway.say("position", { job: job.id, v: 1, ahead: 3 });
  gateway.tell(job.id, "started", { status: "processing" });
  gateway.say("progress", {
    job: job.id,
    v: 2,
    status: "generating",
    step: 1,
    steps: 2,
    fraction: 0.5,
  });
  gateway.tell(job.id, "preview", { status: "generating", data: { index: 0, url: "/p", step: 1 } });
  gateway.complete(job.id);

  const { status, picture } = await job.result;
  assert.equal(status, "completed");
  assert.equal(picture, frameOf(job.id, 0).url);
  assert.deepEqual(seen, ["position 0", "position 3", "step 1", "/p", picture, "completed"]);
  assert.equal(fw.inFlight, 0);
});

test("messages that come late or twice are not heard", async (t) => {
  const { gateway, job } = await inFlight(t);
  const steps = [];
  const frames = [];
  job.on({ progress: ({ step }) => steps.push(step), frame: ({ index }) => frames.push(index) });
  const progress = (v, step) =>
    gateway.say("progress", { job: job.id, v, status: "generating", step, steps: 9, fraction: 0 });
  gateway.tell(job.id, "started", { status: "processing" });
  progress(2, 4);
  progress(2, 4);
  progress(2, 3);
  progress(1, 9);
  const frame = { job: job.id, v: 3, status: "uploading", frame: frameOf(job.id, 0) };
  gateway.say("frame-ready", frame);
  gateway.say("frame-ready", frame);
  gateway.set(job.id, { v: 3 });
  gateway.complete(job.id);
  await job.result;
  gateway.say("failed", { job: job.id, v: 2, status: "failed" });
  gateway.say("frame-ready", frame);
  assert.deepEqual(steps, [4]);
  assert.deepEqual(frames, [0]);
  assert.equal(job.status, "completed");
});

test("a job that the gateway does not know has failed, and its fallback stands in", async (t) => {
  const gateway = await Scripted.start(t);
  const fw = gateway.client();
  const job = await fw.watch("job_gone");
  const { status, picture, error } = await job.result;
  assert.deepEqual([status, picture, error.code], ["failed", FALLBACK.url, "job_not_found"]);
  assert.equal((await job.first).reason, "unknown");
  assert.equal(fw.inFlight, 0);
});

test("a submit whose answer is lost is sent again with its key and makes one job", async (t) => {
  const gateway = await Scripted.start(t);
  let lost = 0;
  gateway.intercept = (request) => {
    if (request.method !== "POST" || request.url !== "/v1/jobs" || lost++ > 1) return false;
    const key = request.headers["idempotency-key"];
    gateway.keys.push(key);
    if (lost === 1) gateway.set("job_1", { key });
    return Boolean(request.socket.destroy());
  };
  const fw = gateway.client({ token: "t" });
  const job = await fw.generate({ prompt: "a fox" });
  assert.equal(job.id, "job_1");
  assert.equal(gateway.jobs.size, 1);
  assert.equal(gateway.keys.length, 3);
  assert.equal(new Set(gateway.keys).size, 1);
});

test("a refused order rejects with what to show, and is not remembered", async (t) => {
  const gateway = await Scripted.start(t);
  gateway.intercept = (request, response) =>
    request.method === "POST" &&
    request.url === "/v1/jobs" &&
    json(response, 503, { code: "queue_full", detail: "Full.", fallback: FALLBACK });
  const storage = new FakeStorage();
  const fw = gateway.client({ storage });
  await assert.rejects(fw.generate({ prompt: "a fox" }), (problem) => {
    assert.deepEqual([problem.code, problem.fallback], ["queue_full", FALLBACK]);
    return true;
  });
  assert.equal(gateway.count("POST /v1/jobs"), 1, "a full queue is an answer");
  assert.equal(storage.length, 0);
});

test("who waits longer than twice the estimate gets the fallback, and later the frame", async (t) => {
  const gateway = await Scripted.start(t);
  gateway.set("job_1", { key: "k", estimated_wait_ms: 10 });
  const fw = gateway.client();
  const job = await fw.generate({ prompt: "a fox" }, { idempotencyKey: "k" });
  const told = [];
  job.on({ fallback: ({ reason }) => told.push(reason), frame: () => told.push("frame") });
  assert.deepEqual(await job.first, { ...FALLBACK, reason: "waited" });
  assert.equal(job.settled, false);
  await gateway.until(() => gateway.streams.size === 1);
  gateway.complete(job.id);
  assert.equal((await job.result).status, "completed");
  assert.deepEqual(told, ["waited", "frame"]);
});

test("an end that overtakes the answer to its own submit is not missed", async (t) => {
  const gateway = await Scripted.start(t);
  const fw = gateway.client();
  const first = await fw.generate({ prompt: "opens the stream" });
  await gateway.until(() => gateway.streams.size === 1);
  const events = first[Symbol.asyncIterator]();
  let answer;
  gateway.intercept = (request, response) => {
    if (request.method !== "POST" || request.url !== "/v1/jobs") return false;
    const job = gateway.set("job_2");
    answer = () => json(response, 202, job);
    return true;
  };
  const submitted = fw.generate({ prompt: "a fox" });
  await gateway.until(() => answer);
  gateway.complete("job_2");
  gateway.tell(first.id, "started", { status: "processing" });
  await heard(events, "started");
  answer();
  assert.equal((await (await submitted).result).status, "completed");
});

test("a cancelled job ends once, and a retry has a result of its own", async (t) => {
  const { gateway, fw, job } = await inFlight(t);
  await job.cancel();
  assert.equal((await job.result).status, "cancelled");
  assert.equal(fw.inFlight, 0);
  await job.retry();
  assert.equal(fw.inFlight, 1);
  gateway.complete(job.id);
  assert.equal((await job.result).status, "completed");
  assert.equal(fw.inFlight, 0);
});

test("the events of a job can be read to its end", async (t) => {
  const { gateway, job } = await inFlight(t);
  const events = job[Symbol.asyncIterator]();
  gateway.tell(job.id, "started", { status: "processing" });
  gateway.complete(job.id);
  await job.result;
  const types = [];
  for await (const { type } of events) types.push(type);
  assert.deepEqual(types, ["started", "completed"]);
});

test("a job that completes without all of its frames names those that are missing", async (t) => {
  const { gateway, job } = await inFlight(t);
  const missing = [{ index: 1, error: { code: "TEMPORARY", message: "busy" } }];
  const frames = [frameOf(job.id, 0)];
  gateway.tell(job.id, "completed", { status: "completed", frames, data: { frames, missing } });
  const outcome = await job.result;
  assert.deepEqual([outcome.status, outcome.frames.length], ["completed", 1]);
  assert.deepEqual(outcome.job.missing, missing);
});

test("a job that another was drawn for is out of the queue, and says so", async (t) => {
  const { gateway, job } = await inFlight(t);
  gateway.say("position", { job: job.id, v: 1, ahead: 3, eta_ms: 4000 });
  const frames = [frameOf(job.id, 0)];
  const data = { frames, missing: [], cached: true };
  gateway.tell(job.id, "completed", { status: "completed", frames, data });
  const { queue_position, estimated_wait_ms, cached } = (await job.result).job;
  assert.deepEqual([queue_position, estimated_wait_ms, cached], [null, null, true]);
});

test("a job that is answered completed at once has its frame and holds nothing", async (t) => {
  const gateway = await Scripted.start(t);
  gateway.set("job_1", { key: "k", status: "completed", frames: [frameOf("job_1", 0)] });
  const storage = new FakeStorage();
  const fw = gateway.client({ storage });
  const job = await fw.generate({ prompt: "a fox" }, { idempotencyKey: "k" });
  const seen = [];
  job.on({ frame: ({ url }) => seen.push(url), settled: ({ status }) => seen.push(status) });
  assert.deepEqual(seen, [frameOf("job_1", 0).url, "completed"]);
  assert.deepEqual([fw.inFlight, storage.length], [0, 0]);
});

test("a callback that throws holds up no other", async (t) => {
  const { gateway, job } = await inFlight(t);
  const report = t.mock.method(console, "error", () => {});
  job.on({
    settled: () => {
      throw new Error("its author's");
    },
  });
  gateway.complete(job.id);
  assert.equal((await job.result).status, "completed");
  assert.equal(report.mock.calls[0].arguments[0].message, "its author's");
});

test("what was in flight goes on after a reload, and an order without an answer is sent again", async (t) => {
  const gateway = await Scripted.start(t);
  const storage = new FakeStorage();
  const before = gateway.client({ storage, token: "t" });
  const job = await before.generate({ prompt: "a fox" });
  gateway.intercept = (request) =>
    request.method === "POST" &&
    request.url === "/v1/jobs" &&
    gateway.set("job_2", { key: request.headers["idempotency-key"] });
  before.generate({ prompt: "left alone" }).catch(() => {});
  await gateway.until(() => gateway.jobs.size === 2);
  before.close();
  gateway.intercept = () => false;

  const after = gateway.client({ storage, token: "t" });
  const resumed = await after.resume();
  assert.deepEqual(resumed.map(({ id }) => id).sort(), [job.id, "job_2"]);
  assert.equal(gateway.jobs.size, 2);
  await gateway.until(() => gateway.streams.size > 0);
  for (const { id } of resumed) gateway.complete(id);
  await Promise.all(resumed.map(({ result }) => result));
  assert.equal(storage.length, 0);
});
