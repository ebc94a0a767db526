// A page that follows every job of its session, whoever orders it, against a scripted gateway.

import assert from "node:assert/strict";

import { Scripted, frameOf, test } from "./scripted.mjs";

/** Follows; gives the newest of every job that it was told of, and a way to wait for one. */
function follow(client) {
  const seen = new Map();
  let look = () => {};
  const note = (job) => {
    if (job.created) seen.set(job.id, job);
    look();
  };
  client.follow((handle) => handle.on({ change: note }));
  const until = (what) =>
    new Promise((done) => {
      look = () => what() && done();
      look();
    });
  return { seen, until };
}

test("a job that somebody else ordered is followed from its first event to its end", async (t) => {
  const gateway = await Scripted.start(t);
  const { seen, until } = follow(gateway.client());
  await gateway.until(() => gateway.streams.size === 1);
  gateway.tell("job_9", "queued", { created: true });
  await until(() => seen.get("job_9")?.status === "queued");
  const frames = [frameOf("job_9", 0)];
  gateway.tell("job_9", "completed", { status: "completed", finished: true, frames });
  await until(() => seen.get("job_9")?.status === "completed");
});

test("a job that ended before anybody looked is told of all the same", async (t) => {
  const gateway = await Scripted.start(t);
  const { seen, until } = follow(gateway.client());
  await gateway.until(() => gateway.streams.size === 1);
  gateway.set("job_9", { created: true, status: "failed", finished: true });
  gateway.say("failed", { job: "job_9", v: 1, status: "failed", error: { message: "no" } });
  await until(() => seen.get("job_9")?.status === "failed");
});

test("what was at work when the page came is found without an event", async (t) => {
  const gateway = await Scripted.start(t);
  gateway.set("job_9", { created: true, status: "processing" });
  const { seen, until } = follow(gateway.client());
  await until(() => seen.get("job_9")?.status === "processing");
});

test("everything that the stream says is handed on with its own id and no other", async (t) => {
  const gateway = await Scripted.start(t);
  const said = [];
  const client = gateway.client({ onWire: (entry) => said.push(entry) });
  const job = await client.generate({ prompt: "x" });
  await gateway.until(() => gateway.streams.size === 1);
  gateway.say("progress", { job: job.id, v: 1, step: 1, steps: 2 });
  gateway.complete(job.id);
  await job.result;
  const [sync, progress, completed] = said;
  assert.deepEqual([sync.type, progress.type, completed.type], ["sync", "progress", "completed"]);
  assert.deepEqual([progress.id, completed.id], [null, "1-u"]);
});
