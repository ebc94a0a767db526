// The client's way to events when the stream breaks, against a scripted gateway.

import assert from "node:assert/strict";

import { Scripted, test } from "./scripted.mjs";

test("many jobs share one stream, and none is held after its end", async (t) => {
  const gateway = await Scripted.start(t);
  const fw = gateway.client();
  const orders = Array.from({ length: 50 }, (_, n) => fw.generate({ prompt: `picture ${n}` }));
  const jobs = await Promise.all(orders);
  assert.equal(fw.inFlight, 50);
  await gateway.until(() => gateway.streams.size === 1);
  for (const { id } of jobs) gateway.complete(id);
  const outcomes = await Promise.all(jobs.map(({ result }) => result));
  assert.equal(new Set(outcomes.map(({ picture }) => picture)).size, 50);
  assert.equal(fw.inFlight, 0);
  assert.equal(gateway.streamsOpened, 1);
});

test("a stream that is cut off comes back, and what was lost in between is read", async (t) => {
  const gateway = await Scripted.start(t);
  const fw = gateway.client();
  const job = await fw.generate({ prompt: "a fox" });
  await gateway.until(() => gateway.streams.size === 1);
  for (const stream of gateway.streams) stream.destroy();
  await gateway.until(() => gateway.streams.size === 0);
  gateway.complete(job.id);
  assert.equal((await job.result).status, "completed");
});

test("a stream that says bye comes back when it was told to", async (t) => {
  const gateway = await Scripted.start(t);
  const fw = gateway.client();
  const job = await fw.generate({ prompt: "a fox" });
  await gateway.until(() => gateway.streams.size === 1);
  gateway.say("bye", { reason: "drain", retry_ms: 1, final: false });
  await gateway.until(() => gateway.streamsOpened === 2 && gateway.streams.size === 1);
  gateway.complete(job.id);
  assert.equal((await job.result).status, "completed");
});

test("where the stream can't be held jobs are polled, until it can be again", async (t) => {
  const gateway = await Scripted.start(t);
  let blocked = true;
  gateway.intercept = (request) =>
    blocked && request.url.startsWith("/v1/events") && Boolean(request.socket.destroy());
  const fw = gateway.client();
  const first = await fw.generate({ prompt: "a fox" });
  await gateway.until(() => fw.state === "polling");
  gateway.complete(first.id);
  assert.equal((await first.result).status, "completed");
  assert.equal(gateway.streamsOpened, 0);

  blocked = false;
  await gateway.until(() => gateway.streams.size === 1);
  const second = await fw.generate({ prompt: "a crow" });
  await gateway.until(() => fw.state === "live");
  const polled = gateway.count(`GET /v1/jobs/${second.id}`);
  gateway.complete(second.id);
  assert.equal((await second.result).status, "completed");
  assert.equal(gateway.count(`GET /v1/jobs/${second.id}`), polled, "the stream told it");
});

test("a position that is lost is made good by a look at the jobs", async (t) => {
  const gateway = await Scripted.start(t);
  const fw = gateway.client();
  const job = await fw.generate({ prompt: "a fox" });
  await gateway.until(() => gateway.streams.size === 1);
  gateway.jobs.delete(job.id);
  gateway.say("sync", { mode: "reset", at: "0-x", ping_ms: 15_000 });
  const { status, picture } = await job.result;
  assert.deepEqual([status, picture], ["failed", "/v1/fallback.webp"]);
});

test("a silent stream is given up and opened anew", async (t) => {
  const gateway = await Scripted.start(t);
  const fw = gateway.client({ timing: { silencePings: 1 } });
  await fw.generate({ prompt: "a fox" });
  await gateway.until(() => gateway.streams.size === 1);
  gateway.say("sync", { mode: "resumed", ping_ms: 5 });
  await gateway.until(() => gateway.streamsOpened === 2);
});
